"""Latency: from the commit of a case to the commit of its acceptance notice as sent, through four services.

The notice is the one in the application: sending a text message adds the gateway's time to ours.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from deploy.processes import wait_until
from deploy.services import SERVICES
from tests.bench.contenders import Onestop
from tests.bench.rates import percentile
from tests.bench.servers import Delivery, Place, Servers, tell

RATE = 20
WARM_UP_S = 3
_SETTLE_S = 30.0
_WARM_UP_CASES = 100


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Milliseconds."""

    p50: float
    p99: float


def measure(servers: Servers, delivery: Delivery, seconds: int) -> Percentiles:
    """Submit from a process of its own at a steady rate."""
    tell(f"latency: delivery by {delivery}, {RATE} cases/s for {seconds} s")
    with servers.place(f"latency_{delivery}", delivery) as place:
        onestop = Onestop()
        onestop.prepare(place)
        place.await_ready([onestop.start_worker(place, service).ready for service in SERVICES])
        before = _cases(place)
        _submit(place, WARM_UP_S)
        warm = _cases(place)
        _submit(place, seconds)
        wanted = _cases(place) - before
        _await_told(place, wanted)
        found = _percentiles(place, warm)
    tell(f"  p50 {found.p50:.1f} ms, p99 {found.p99:.1f} ms")
    return found


@dataclass(frozen=True, slots=True)
class HalfLoad:
    """Latency at half of the full throughput; the rate, and milliseconds."""

    cases_per_s: float
    p50_ms: float
    p99_ms: float


def at_half(servers: Servers, full_per_s: float, seconds: float, warm_up: int = _WARM_UP_CASES) -> HalfLoad:
    """Let held cases go at half of what comes through at most, each when it is due; from then until the
    commit of its acceptance notice as sent."""
    rate = full_per_s / 2
    tell(f"latency at half of the full throughput: {rate:.0f} cases/s")
    with servers.place("latency_half") as place:
        onestop = Onestop()
        onestop.prepare(place)
        place.await_ready([onestop.start_worker(place, service).ready for service in SERVICES])
        held = place.rows(
            "SELECT id, case_no FROM intake.outbox WHERE sent_at = to_timestamp(0) ORDER BY id LIMIT :most",
            most=warm_up + round(rate * seconds),
        )
        onestop.release(place, [row[0] for row in held[:warm_up]])()
        _await_told(place, min(warm_up, len(held)))
        let_go = _let_go(place, held[warm_up:], rate)
        _await_told(place, len(held))
        told = place.rows(
            "SELECT case_no, extract(epoch FROM pg_xact_commit_timestamp(xmin))::float "
            "FROM notify.deliveries WHERE template = 'case-accepted' AND state = 'sent'"
        )
    waits = [1000 * (at - let_go[number]) for number, at in told if number in let_go]
    found = HalfLoad(rate, percentile(waits, 0.5), percentile(waits, 0.99))
    tell(f"  p50 {found.p50_ms:.0f} ms, p99 {found.p99_ms:.0f} ms")
    return found


def _let_go(place: Place, held: Sequence[Any], rate: float) -> dict[str, float]:
    """One after the other, those together that are due together; when each was due, since the epoch."""
    onestop, gone = Onestop(), 0
    due_at: dict[str, float] = {}
    began, wall = time.monotonic(), time.time()
    while gone < len(held):
        due = min(len(held), int((time.monotonic() - began) * rate) + 1)
        onestop.release(place, [row[0] for row in held[gone:due]])()
        due_at |= {held[n][1]: wall + n / rate for n in range(gone, due)}
        gone = due
        time.sleep(max(0.0, began + gone / rate - time.monotonic()))
    return due_at


def _await_told(place: Place, cases: int) -> None:
    if not wait_until(lambda: _told(place) >= cases, _SETTLE_S, every_s=0.2):
        raise RuntimeError(f"{_told(place)} of {cases} cases are told after {_SETTLE_S:.0f} s")


def _submit(place: Place, seconds: int) -> None:
    child = place.start(["-m", "tests.bench.submitter", str(RATE), str(seconds)])
    code = child.wait(seconds + 60)
    place.forget(child)
    if code != 0:
        raise RuntimeError(f"the submitter ended with {code}")


def _cases(place: Place) -> int:
    return int(place.ask("SELECT count(*) FROM intake.cases")[0])


def _told(place: Place) -> int:
    found = place.ask(
        "SELECT count(*) FROM notify.deliveries WHERE template = 'case-accepted' AND state = 'sent'"
    )
    return int(found[0])


def _percentiles(place: Place, skip: int) -> Percentiles:
    """Over the cases after the first `skip`."""
    found = place.ask(
        "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY ms), "
        "percentile_cont(0.99) WITHIN GROUP (ORDER BY ms) FROM ("
        "SELECT 1000 * extract(epoch FROM pg_xact_commit_timestamp(d.xmin) - "
        "pg_xact_commit_timestamp(t.xmin)) AS ms FROM notify.deliveries d "
        "JOIN intake.timeline t ON t.case_no = d.case_no AND t.fact = 'case-submitted' "
        "JOIN (SELECT number FROM intake.cases ORDER BY received_at OFFSET :skip) AS c "
        "ON c.number = d.case_no "
        "WHERE d.template = 'case-accepted' AND d.state = 'sent') AS each",
        skip=skip,
    )
    return Percentiles(float(found[0]), float(found[1]))
