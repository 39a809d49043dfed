"""One command on a real database: facts go in, rows and facts come out, and no other service is there."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from shared.bus.unit import Unit, unit_of
from shared.catalogue.matter import Matter
from shared.events.fact import Event, Fact, fact_class
from shared.events.ids import new_id
from shared.events.intake import CaseSubmitted
from tests.support.installation import HELD, MATTER, Installation

RECEIVED = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)
"""A Monday morning in Beijing."""
ASKED = ["id_card", "photo", "residence_proof", "ground_proof"]
"""What the matter needs of somebody who works here and rents, in its order."""

Load = Callable[[Unit, Sequence[Event]], Any]
Command = Callable[[Unit, Event, Any], None]


def new_number() -> str:
    """A case number that nobody has yet."""
    return f"{uuid4().int % 10**18:018d}X"


def event_of(fact: Fact, case: str, sequence: int = 1) -> Event:
    """A fact as another service said it."""
    return Event(
        id=new_id(),
        speaker=fact.speaker,
        type=fact.type,
        case=case,
        sequence=sequence,
        time=RECEIVED,
        fact=fact,
    )


def submitted(applicant: UUID, **changed: Any) -> CaseSubmitted:
    """Somebody who works here and rents applies for a residence permit, and agrees to the fetching."""
    fields: dict[str, Any] = {
        "matter": MATTER,
        "matter_version": 1,
        "region": "330106",
        "applicant": applicant,
        "holders": {"applicant": applicant},
        "facts": {"ground": "employment", "residence_kind": "rented", "has_agent": False},
        "consents": {"applicant": "own"},
        "channel": "web",
        "received_at": RECEIVED,
    }
    return CaseSubmitted.model_validate(fields | changed)


def handle(installation: Installation, service: str, load: Load, command: Command, *events: Event) -> None:
    """What a worker does with a batch of one kind: one transaction, one load, the command once an event."""
    with unit_of(installation.context(service), "test.handle") as unit:
        loaded = load(unit, events)
        for event in events:
            command(unit, event, loaded)


def said(installation: Installation, service: str, case: str) -> list[Fact]:
    """What a service has said about a case, in order."""
    rows = installation.rows(f"SELECT event FROM {service}.outbox WHERE case_no = :n ORDER BY id", n=case)
    return [fact_class(row.event["type"]).model_validate(row.event["data"]) for row in rows]


def row(installation: Installation, table: str, **where: Any) -> Any:
    """The one row of a table."""
    (found,) = rows(installation, table, **where)
    return found


def rows(installation: Installation, table: str, **where: Any) -> list[Any]:
    """The rows of a table with these values."""
    condition = " AND ".join(f"{name} = :{name}" for name in where)
    return installation.rows(f"SELECT * FROM {table} WHERE {condition}", **where)


def person_of(installation: Installation, certificates: Sequence[str] = HELD) -> UUID:
    """The person_ref of somebody new, of whom the state holds these certificates."""
    before = {found.person_ref for found in installation.rows("SELECT person_ref FROM intake.persons")}
    installation.citizen(certificates)
    after = {found.person_ref for found in installation.rows("SELECT person_ref FROM intake.persons")}
    (new,) = after - before
    return UUID(str(new))


def matter_of(installation: Installation) -> Matter:
    """The residence permit as published."""
    return installation.context("intake").matters.latest(MATTER)
