"""The pure parts of the bench: percentiles, whether a backlog grows, the highest rate that is held."""

import pytest

from tests.bench.generator import Sent
from tests.bench.rates import grows, highest, percentile, whole_rate
from tests.bench.whole import is_held, is_overfull


@pytest.mark.parametrize(
    ("share", "wanted"), [(0.5, 50), (0.95, 95), (0.99, 99), (1.0, 100), (0.001, 1), (0.0, 1)]
)
def test_a_percentile_is_one_of_the_values(share: float, wanted: int) -> None:
    assert percentile(list(range(100, 0, -1)), share) == wanted


def test_the_percentile_of_nothing_is_zero() -> None:
    assert percentile([], 0.95) == 0.0


def test_a_percentile_is_rounded_up_to_a_value() -> None:
    assert percentile([1, 2, 3], 0.5) == 2
    assert percentile([1, 2, 3, 4], 0.51) == 3


def test_a_backlog_that_rises_steadily_grows() -> None:
    # A tenth of 100 a second stays.
    assert grows([10 * second for second in range(60)], 1.0, 100)


def test_a_level_backlog_and_a_wave_do_not_grow() -> None:
    assert not grows([200] * 60, 1.0, 100)
    assert not grows([90, 10, 50, 120, 30, 80] * 10, 1.0, 100)


def test_a_backlog_that_rises_at_first_only_does_not_grow() -> None:
    assert not grows([min(20 * second, 300) for second in range(60)], 1.0, 100)


def test_of_fewer_than_three_looks_nothing_is_said() -> None:
    assert not grows([0, 1000], 1.0, 100)


def test_the_highest_held_rate_is_found_to_so_many_per_cent() -> None:
    found = highest(lambda rate: rate <= 123, 30, 300, 8)
    assert 123 / 1.01 < found <= 123


def test_each_try_costs_one_run() -> None:
    tried: list[float] = []

    def held(rate: float) -> bool:
        tried.append(rate)
        return False

    assert highest(held, 10, 1000, 3) == 10
    assert tried == pytest.approx([100, 31.6, 17.8], rel=0.01)


def test_rates_are_whole_from_ten_on() -> None:
    assert (whole_rate(123.4), whole_rate(2.5)) == (123.0, 2.5)


def _sent(ms: float = 20.0, status: int = 201, growing: float = 0.0) -> list[Sent]:
    return [Sent("submit", n / 10, ms + growing * n, status, "n") for n in range(600)]


def test_held_is_what_is_taken_at_once_and_leaves_no_backlog() -> None:
    assert is_held(_sent(), [3] * 60, 10)


def test_one_refusal_is_enough() -> None:
    assert not is_held([*_sent(), Sent("submit", 60, 5, 503, None)], [3] * 60, 10)


def test_a_door_that_falls_behind_holds_nothing() -> None:
    assert not is_held(_sent(growing=10), [3] * 60, 10)


def test_workers_that_fall_behind_hold_nothing() -> None:
    assert not is_held(_sent(), list(range(60)), 10)


def test_a_queue_of_more_than_a_few_seconds_holds_nothing() -> None:
    assert is_overfull([20, 301], 100)
    assert not is_overfull([20, 299], 100)
    assert not is_held(_sent(), [301] * 60, 100)


def test_a_handful_of_cases_is_no_queue() -> None:
    assert not is_overfull([20], 1)
    assert not is_overfull([], 100)
