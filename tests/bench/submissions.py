"""Submissions alone: web processes without workers; the highest rate at which 95 % are answered in time."""

from dataclasses import dataclass

from tests.bench.hall import Hall, hall
from tests.bench.rates import highest, percentile, whole_rate
from tests.bench.seed import MANY_PEOPLE, TINY_PEOPLE
from tests.bench.servers import Servers, tell

WEBS = 2
IN_TIME_MS = 60.0
STEP_DOWN = 0.93
_WARM_UP = 20.0, 3.0


@dataclass(frozen=True, slots=True)
class Submissions:
    """The rate that was held, and the p95 of the answers at it."""

    per_s: float
    p95_ms: float


@dataclass(frozen=True, slots=True)
class Scale:
    """As in `whole`."""

    people: int = MANY_PEOPLE
    probe_s: float = 6.0
    hold_s: float = 20.0
    low: float = 40.0
    high: float = 500.0
    probes: int = 5


TINY = Scale(people=TINY_PEOPLE, probe_s=1.0, hold_s=1.0, low=1.0, high=4.0, probes=1)
"""Does it run at all?"""


def measure(servers: Servers, scale: Scale) -> Submissions:
    """In a hall of its own, in which nobody works."""
    tell(f"submissions alone, {WEBS} web processes")
    with hall(servers, "submissions", people=scale.people, webs=WEBS, workers=0) as opened:
        opened.send(_WARM_UP[1], rate=_WARM_UP[0])
        return find(opened, scale)


def find(opened: Hall, scale: Scale) -> Submissions:
    """Look for the rate, then hold it for longer; a little less when it is not held. When not even the lowest
    is, what it came to is told all the same: its p95 says so."""
    rate = highest(lambda r: _try(opened, r, scale.probe_s)[0], scale.low, scale.high, scale.probes)
    held, found = _try(opened, rate, scale.hold_s)
    while not held and rate > scale.low:
        rate = max(scale.low, rate * STEP_DOWN)
        held, found = _try(opened, rate, scale.hold_s)
    return found


def _try(opened: Hall, rate: float, seconds: float) -> tuple[bool, Submissions]:
    sent = opened.send(seconds, rate=whole_rate(rate))
    bad = sum(not one.is_good for one in sent)
    found = Submissions(len(sent) / seconds, percentile([one.ms for one in sent], 0.95))
    held = bad == 0 and found.p95_ms <= IN_TIME_MS
    tell(f"  {found.per_s:.0f}/s for {seconds:.0f} s: p95 {found.p95_ms:.0f} ms, {bad} refused")
    return held, found
