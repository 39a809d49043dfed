"""Latency: from the commit of a case to the commit of its acceptance notice as sent, through four services.

The notice is the one in the application: sending a text message adds the gateway's time to ours.
"""

from dataclasses import dataclass

from deploy.processes import wait_until
from deploy.services import SERVICES
from tests.bench.contenders import Onestop
from tests.bench.servers import Delivery, Place, Servers, tell

RATE = 20
WARM_UP_S = 3
_SETTLE_S = 30.0


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
        if not wait_until(lambda: _told(place) >= wanted, _SETTLE_S, every_s=0.2):
            raise RuntimeError(f"{_told(place)} of {wanted} cases are told after {_SETTLE_S:.0f} s")
        found = _percentiles(place, warm)
    tell(f"  p50 {found.p50:.1f} ms, p99 {found.p99:.1f} ms")
    return found


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
