"""The whole flow: from a submission over HTTP to the notices of receipt and acceptance sent, in the
application and as text messages; the highest rate that is held with no backlog growing."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from tests.bench.generator import Sent
from tests.bench.hall import Hall, hall
from tests.bench.rates import grows, highest, percentile, whole_rate
from tests.bench.seed import MANY_PEOPLE, TINY_PEOPLE
from tests.bench.servers import Servers, tell

LOW, HIGH = 10.0, 300.0
PROBES = 6
STEP_DOWN = 0.93
_WARM_UP = 20.0, 3.0
_EVERY_S = 1.0
_MOST_BACKLOG_S = 3.0
_FEW = 20
_MOST_SLOWER_MS = 200.0


@dataclass(frozen=True, slots=True)
class Whole:
    """What was held. `backlog`: cases on their way, the median of the last third. `p95_ms`: from when a
    submission was due to the commit of its last notice as sent. CPU by process, in ms a case."""

    cases_per_s: float
    p95_ms: float
    backlog: float
    cpu_ms_by_process: dict[str, float]


@dataclass(frozen=True, slots=True)
class Scale:
    """How long a rate is tried, how long it must be held, and between which rates it is looked for."""

    people: int = MANY_PEOPLE
    probe_s: float = 8.0
    hold_s: float = 60.0
    low: float = LOW
    high: float = HIGH
    probes: int = PROBES


TINY = Scale(people=TINY_PEOPLE, probe_s=1.0, hold_s=3.0, low=1.0, high=4.0, probes=1)
"""Does it run at all?"""


def measure(servers: Servers, scale: Scale) -> Whole:
    """In a hall of its own."""
    tell("whole flow: looking for the rate that is held")
    with hall(servers, "whole", people=scale.people) as opened:
        opened.send(_WARM_UP[1], rate=_WARM_UP[0])
        opened.drain()
        return find(opened, scale)


def find(opened: Hall, scale: Scale) -> Whole:
    """Look for the rate, then hold it; a little less when it is not held."""
    rate = highest(lambda r: _is_held(opened, r, scale.probe_s), scale.low, scale.high, scale.probes)
    rate = whole_rate(rate)
    while (held := _hold(opened, rate, scale.hold_s)) is None:
        rate = whole_rate(rate * STEP_DOWN)
        if rate < scale.low / 2:
            raise RuntimeError(f"not even {scale.low:.0f} cases/s were held")
    tell(f"  {held.cases_per_s:.1f} cases/s, p95 {held.p95_ms:.0f} ms, backlog {held.backlog:.0f}")
    return held


def _is_held(opened: Hall, rate: float, seconds: float) -> bool:
    return _run(opened, whole_rate(rate), seconds)[2]


def _hold(opened: Hall, rate: float, seconds: float) -> Whole | None:
    before = opened.cpu_seconds()
    sent, backlog, held = _run(opened, rate, seconds)
    after = opened.cpu_seconds()
    if not held:
        return None
    told = opened.told_at()
    waits = [1000 * (told[one.number] - one.due) for one in sent if one.number in told]
    return Whole(
        cases_per_s=len(sent) / seconds,
        p95_ms=percentile(waits, 0.95),
        backlog=median(backlog[-max(1, len(backlog) // 3) :]),
        cpu_ms_by_process={
            name: 1000 * (used - before.get(name, 0.0)) / len(sent) for name, used in after.items()
        },
    )


def _run(opened: Hall, rate: float, seconds: float) -> tuple[list[Sent], list[int], bool]:
    """Send at this rate, and look at the backlog once a second meanwhile; whether the rate was held. What
    cannot be held any more is not sent to its end."""
    backlog: list[int] = []
    sending = opened.begin(seconds, rate=rate)
    end = time.monotonic() + seconds
    while time.monotonic() < end and not is_overfull(backlog, rate):
        time.sleep(min(_EVERY_S, max(0.0, end - time.monotonic())))
        backlog.append(opened.cases() - opened.told())
    if is_overfull(backlog, rate):
        opened.give_up(sending)
        sent, held = [], False
    else:
        sent = opened.answered(sending)
        held = is_held(sent, backlog, rate)
    tell(f"  {rate:.0f}/s: {'held' if held else 'not held'} for {len(backlog)} s, backlog {backlog[-1]}")
    opened.drain()
    return sent, backlog, held


def is_overfull(backlog: Sequence[int], rate: float) -> bool:
    """More cases are on their way than come in within a few seconds: they wait in a queue."""
    return bool(backlog) and backlog[-1] > max(_MOST_BACKLOG_S * rate, _FEW)


def is_held(sent: Sequence[Sent], backlog: Sequence[int], rate: float) -> bool:
    """Every submission was taken, the last ones as quickly as those before, and no backlog grew.

    A door that falls behind leaves its backlog with those who wait for an answer: their time tells."""
    if is_overfull(backlog, rate) or not all(one.is_good for one in sent):
        return False
    due = sorted(sent, key=lambda one: one.due)
    third = len(due) // 3
    if third == 0:
        return True
    slower = median(one.ms for one in due[-third:]) - median(one.ms for one in due[-2 * third : -third])
    return slower < _MOST_SLOWER_MS and not grows(backlog, _EVERY_S, rate)
