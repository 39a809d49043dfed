"""The soak: cases under way, and something killed, taken away or thrown in at random again and again."""

import random
import sys
import threading
from collections import Counter
from datetime import date
from typing import Any
from uuid import UUID, uuid4

from services.intake.identity.persons import register_person
from services.intake.rules.submission import NamedPerson
from services.materials.commands import NewCertificate, record_certificate
from shared.bus.unit import unit_of
from shared.context import build_context
from tests.drills.driver import Applicant, Drivers, Ledger, applicants
from tests.drills.faults import faults
from tests.drills.installation import Delivery, Installation, installation
from tests.drills.oracle import Books, Verdict, judge, waiting_messages
from tests.support.principals import VERIFIED

PEOPLE = 200
_CERTIFICATES = ("id_card", "id_photo", "social_insurance_record", "lease_record")
_BETWEEN_KILLS_S = (0.3, 2.0)
_STILL_S = 300
"""What does not move for so long is stuck. A text message in doubt is asked about for up to 90 s before it
may go again; what got lost on its way is missed after two to three minutes."""


def soak(
    cases: int, kills: int, seed: int, delivery: Delivery = "rabbitmq"
) -> tuple[Verdict, dict[str, int]]:
    """Run one; the verdict and how often each was killed."""
    chance = random.Random(seed)
    with installation(delivery) as h:
        people = applicants(PEOPLE)
        _seed(h, people)
        ledger = Ledger(h.folder / "ledger.jsonl")
        drivers = Drivers(h.url, ledger, people, cases)
        drivers.start()
        killed = _kill(h, drivers, kills, chance)
        drivers.released = cases
        _wait_until_quiet(h, ledger, cases)
        drivers.end()
        # What they hold unacknowledged goes back to the queues when they are gone, and is seen there.
        codes = {name: process.stop() for name, process in h.processes.items()}
        _collect(h)
        verdict = judge(h, ledger)
        verdict.notes["hostile"] = len(h.hostile.confirmed)
        verdict.notes["answers"] = drivers.errors[:5]
        verdict.notes["ended_by_themselves"] = h.ended
        verdict.notes["deadlocks"] = h.deadlocks()
        verdict.notes["hollow"] = h.hollow
        verdict.notes["stopped_badly"] = {name: code for name, code in codes.items() if code != 0}
    return verdict, killed


def _kill(h: Installation, drivers: Drivers, kills: int, chance: random.Random) -> dict[str, int]:
    pause = threading.Event()
    victims = faults(h, chance)
    killed: Counter[str] = Counter()
    for n in range(kills):
        # The load lasts as long as the kills do: nobody is killed idle.
        drivers.released = drivers.cases * (n + 1) // kills
        pause.wait(chance.uniform(*_BETWEEN_KILLS_S))
        h.keep_up()
        name = chance.choice(sorted(victims))
        victims[name]()
        killed[name] += 1
        _tell(f"kill {n + 1}/{kills}: {name}")
    return dict(sorted(killed.items()))


def _wait_until_quiet(h: Installation, ledger: Ledger, cases: int) -> None:
    books, pause = Books(h.settings), threading.Event()
    before: tuple[int, dict[str, int]] | None = None
    waited = ticks = 0
    while waited < _STILL_S:
        h.keep_up()
        _collect(h)
        # Facts whose acknowledgements died with the broker come once more when all else is done.
        now = (len(ledger.acknowledged), books.open_work() | waiting_messages(h))
        if now[0] >= cases and not now[1]:
            return
        if ticks % 10 == 0:
            _tell(f"{now[0]}/{cases} acknowledged, under way: {now[1]}")
        waited = 0 if now != before else waited + 1
        before, ticks = now, ticks + 1
        pause.wait(1.0)


def _collect(h: Installation) -> None:
    if h.rabbitmq is not None:
        h.hostile.collect(h.rabbitmq.admin_url)


def _seed(h: Installation, people: list[Applicant]) -> None:
    intake = build_context(h.settings, "intake")
    materials = build_context(h.settings, "materials")
    with unit_of(intake, "drill.people") as unit:
        refs = [register_person(unit, NamedPerson(p.name, p.id_number, p.phone), VERIFIED) for p in people]
    with unit_of(materials, "drill.certificates") as unit:
        for ref in refs:
            for type_code in _CERTIFICATES:
                record_certificate(unit, _certificate(ref, type_code))


def _certificate(holder: UUID, type_code: str) -> NewCertificate:
    return NewCertificate(
        identifier=f"drill.{uuid4()}",
        type_code=type_code,
        holder=holder,
        issuer="受试机关",
        trust_level="A",
        valid_from=date(2020, 1, 1),
        valid_until=None,
    )


def report(verdict: Verdict, killed: dict[str, int], seed: int) -> dict[str, Any]:
    """What is printed."""
    return {
        "attempted": verdict.attempted,
        "acknowledged": verdict.acknowledged,
        "lost": verdict.lost,
        "duplicated": verdict.duplicated,
        "unexpected": verdict.unexpected,
        "out_of_order": verdict.out_of_order,
        "stuck": verdict.stuck,
        "parked": verdict.parked,
        "kills": killed,
        "seed": seed,
    }


def _tell(line: str) -> None:
    sys.stderr.write(f"drill: {line}\n")
    sys.stderr.flush()
