"""What intake does about facts, its own and those of others: it shows them. A citizen's view of a case, and
its timeline, follow what was said."""

from collections.abc import Sequence
from dataclasses import dataclass

from services.intake import queries
from services.intake.models import Case, TimelineEntry
from services.intake.rules.changes import ADDED, changed
from shared.bus.inbox import NotYet
from shared.bus.unit import Unit
from shared.events.fact import Event
from shared.events.intake import CaseSubmitted


@dataclass(slots=True)
class Views:
    """The cases of a batch, locked."""

    cases: dict[str, Case]


def load_views(unit: Unit, events: Sequence[Event]) -> Views:
    """Lock the cases that the batch's facts are about."""
    return Views(queries.lock_cases(unit.session, {event.case for event in events}))


def note_fact(unit: Unit, event: Event, loaded: Views) -> None:
    """Bring the citizen's view up to date with what another service said, and add it to the timeline."""
    case = loaded.cases.get(event.case)
    if case is None:
        raise NotYet(CaseSubmitted)
    show(unit, case, event)


def show(unit: Unit, case: Case, event: Event) -> None:
    """Change what a locked case shows as this fact says, and add it to the timeline."""
    change = event.fact.changes()
    before = {part: getattr(case, part) for part in change.keys() & ADDED.keys()}
    for part, value in changed(before, change).items():
        setattr(case, part, value)
    if event.fact.seen is not None:
        unit.append(
            TimelineEntry,
            case_no=case.number,
            at=event.time,
            service=event.speaker,
            sequence=event.sequence,
            fact=event.fact.called,
            details=event.fact.details(),
            only_for=event.fact.only_for(),
        )
