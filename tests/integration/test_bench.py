"""Every part of `make bench` runs, with numbers so small that they say nothing."""

from collections.abc import Iterator

import pytest

from tests.bench import cost, crowd, latency, memory, scale, spike, submissions, whole
from tests.bench.hall import Hall, hall
from tests.bench.seed import TINY_PEOPLE, fill_people, fill_template
from tests.bench.servers import Servers, installation

pytestmark = [pytest.mark.broker, pytest.mark.slow]


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    with installation() as running:
        yield running


@pytest.fixture(scope="module")
def opened(servers: Servers) -> Iterator[Hall]:
    fill_people(servers, TINY_PEOPLE)
    with hall(servers, "smoke", people=TINY_PEOPLE) as made:
        yield made


def test_the_whole_flow_is_held_at_a_trickle(opened: Hall) -> None:
    found = whole.find(opened, whole.TINY)
    assert found.cases_per_s > 0
    assert found.p95_ms > 0
    assert {"web", "worker.intake", "worker.notify", "broker", "postgres"} <= found.cpu_ms_by_process.keys()
    assert all(ms >= 0 for ms in found.cpu_ms_by_process.values())


def test_submissions_are_answered(opened: Hall) -> None:
    assert submissions.find(opened, submissions.TINY).per_s > 0


def test_a_small_crowd_meets_no_error(opened: Hall) -> None:
    found = crowd.find(opened, crowd.TINY)
    assert found.errors == 0
    assert found.per_s > 0
    opened.drain()
    assert opened.told() == opened.cases() == len(opened.told_at())


def test_what_a_case_costs_is_told_by_table(opened: Hall) -> None:
    found = cost.find(opened, cost.TINY)
    assert {"intake.cases": 1, "notify.deliveries": 4}.items() <= found.rows_by_table.items()
    assert found.table_bytes > 0
    assert found.wal_bytes > found.rows


def test_a_spike_passes(opened: Hall) -> None:
    found = spike.find(opened, spike.TINY)
    assert found.submissions > 0
    assert found.errors == 0


@pytest.fixture(scope="module")
def held(servers: Servers) -> Servers:
    fill_template(servers, scale.TINY.held)
    return servers


def test_latency_at_half_load_is_told(held: Servers) -> None:
    found = latency.at_half(held, 20, 1, warm_up=5)
    assert 0 < found.p50_ms <= found.p99_ms


def test_many_cases_are_filled_in_and_their_pages_asked_for(held: Servers) -> None:
    found = scale.measure(held, scale.TINY)
    assert found.ratio > 0
    assert set(found.pages_ms) == {"queue", "task", "my_cases", "case", "look_up", "home"}


def test_memory_of_everything_is_told() -> None:
    found = memory.measure(memory.TINY)
    assert found.idle > 0
    assert found.after > 0
