"""Latency: from the commit of a case to the commit of its acceptance notice as sent, by SMS and inbox."""

import json
from dataclasses import dataclass

from deploy.house import free_ports
from deploy.processes import wait_until
from deploy.services import SERVICES
from deploy.standins.launch import SmsStandin
from shared.settings import SmsSettings
from tests.bench.contenders import Onestop, answers
from tests.bench.house import Delivery, Place, Servers, tell

RATE = 20
WARM_UP_S = 3
_SETTLE_S = 30.0
CHANNELS = ("sms", "inbox")


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Milliseconds."""

    p50: float
    p99: float


def measure(servers: Servers, delivery: Delivery, seconds: int) -> dict[str, Percentiles]:
    """Submit from a process of its own at a steady rate; percentiles by channel."""
    tell(f"latency: delivery by {delivery}, {RATE} cases/s for {seconds} s")
    standin = SmsStandin(servers.folder / f"sms_{delivery}")
    standin.secret_file()
    standin.start()
    try:
        with servers.place(f"latency_{delivery}", delivery) as place:
            _start(place, standin.settings())
            before = int(place.ask("SELECT count(*) FROM intake.cases")[0])
            _submit(place, WARM_UP_S)
            warm = int(place.ask("SELECT count(*) FROM intake.cases")[0])
            _submit(place, seconds)
            wanted = int(place.ask("SELECT count(*) FROM intake.cases")[0]) - before
            if not wait_until(lambda: _sent(place) >= 2 * wanted, _SETTLE_S, every_s=0.2):
                raise RuntimeError(f"{_sent(place)} of {2 * wanted} SMS after {_SETTLE_S:.0f} s")
            found = {channel: _percentiles(place, channel, warm) for channel in CHANNELS}
    finally:
        standin.stop()
    for channel, figures in found.items():
        tell(f"  {channel}: p50 {figures.p50:.1f} ms, p99 {figures.p99:.1f} ms")
    return found


def _start(place: Place, sms: SmsSettings) -> None:
    """Four workers, and the web process of intake, which notify asks for the phone."""
    (port,) = free_ports(1, set())
    more = {
        "ONESTOP_PEERS": json.dumps({"intake": f"http://127.0.0.1:{port}"}),
        "ONESTOP_SMS__ENDPOINT": sms.endpoint,
        "ONESTOP_SMS__ACCESS_KEY_ID": sms.access_key_id,
        "ONESTOP_SMS__ACCESS_KEY_SECRET": sms.access_key_secret.get_secret_value(),
        "ONESTOP_SMS__SIGN_NAME": sms.sign_name,
    }
    onestop = Onestop()
    onestop.prepare(place)
    workers = [onestop.start_worker(place, service, more) for service in SERVICES]
    place.start(
        ["-m", "deploy.cli", "run", "web", "--service", "intake"],
        {"ONESTOP_WEB__PORT": str(port), "ONESTOP_WEB__HOST": "127.0.0.1"},
    )
    place.await_ready([*(worker.ready for worker in workers), lambda: answers(port)])


def _submit(place: Place, seconds: int) -> None:
    child = place.start(["-m", "tests.bench.submitter", str(RATE), str(seconds)])
    code = child.wait(seconds + 60)
    place.forget(child)
    if code != 0:
        raise RuntimeError(f"the submitter ended with {code}")


def _sent(place: Place) -> int:
    found = place.ask("SELECT count(*) FROM notify.deliveries WHERE channel = 'sms' AND state = 'sent'")
    return int(found[0])


def _percentiles(place: Place, channel: str, skip: int) -> Percentiles:
    """Over the cases after the first `skip`."""
    found = place.ask(
        "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY ms), "
        "percentile_cont(0.99) WITHIN GROUP (ORDER BY ms) FROM ("
        "SELECT 1000 * extract(epoch FROM pg_xact_commit_timestamp(d.xmin) - "
        "pg_xact_commit_timestamp(t.xmin)) AS ms FROM notify.deliveries d "
        "JOIN intake.timeline t ON t.case_no = d.case_no AND t.fact = 'case-submitted' "
        "JOIN (SELECT number FROM intake.cases ORDER BY received_at OFFSET :skip) AS c "
        "ON c.number = d.case_no "
        "WHERE d.channel = :channel AND d.template = 'case-accepted' AND d.state = 'sent') AS each",
        skip=skip,
        channel=channel,
    )
    return Percentiles(float(found[0]), float(found[1]))
