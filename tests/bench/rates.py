"""Pure parts of the measurements: percentiles, whether a backlog grows, the highest rate that is held."""

from collections.abc import Callable, Sequence
from statistics import median

_WAVES = 0.02
_SLACK_S = 0.5


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share (0 to 1) of the values do not exceed; 0.0 of none."""
    if not values:
        return 0.0
    rank = max(1, -(-len(values) * round(share * 1000) // 1000))
    return sorted(values)[rank - 1]


def grows(backlog: Sequence[int], every_s: float, rate: float) -> bool:
    """Whether the backlog, looked at every `every_s` seconds, grows while `rate` a second come in.

    Its middle third is compared with its last one, each by its median, so that a wave of work that comes and
    goes is not taken for growth: it grows when more than 2 % of what came in meanwhile stayed, and more than
    comes in within half a second."""
    third = len(backlog) // 3
    if third == 0:
        return False
    risen = median(backlog[-third:]) - median(backlog[-2 * third : -third])
    return risen > max(_WAVES * rate * third * every_s, _SLACK_S * rate)


def highest(held: Callable[[float], bool], low: float, high: float, probes: int) -> float:
    """The highest rate found held between `low` and `high` by `probes` tries; `low` when none was.

    The tries halve what is left by ratio: a rate is worth knowing to so many per cent."""
    for _ in range(probes):
        middle = (low * high) ** 0.5
        if held(middle):
            low = middle
        else:
            high = middle
    return low


def whole_rate(rate: float) -> float:
    """Rates are tried as whole numbers from ten a second on, so that a report can be repeated by hand."""
    return float(round(rate)) if rate >= 10 else rate
