"""What intake hears: all that people see."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection

from services.intake import hearing, restored, retention, sealed
from services.intake.hearing import Views
from shared.bus.handlers import hears_all
from shared.bus.host import ServiceWorker
from shared.bus.unit import Unit
from shared.events.fact import Event, Fact, seen_facts


def _seen_of_others() -> list[type[Fact]]:
    return [fact for fact in seen_facts() if fact.speaker != Worker.name]


class Worker(ServiceWorker):
    """The worker of intake."""

    name = "intake"
    keeps = retention.RULES
    seals = sealed.SEALED
    linger_s = 0.25

    @classmethod
    def restored(cls, connection: Connection, at: datetime, lost_cases: Sequence[str]) -> dict[str, int]:
        """Whatever the witness knows: no serial of a case that somebody has heard of is given out again."""
        restored.skip_serials(connection, lost_cases)
        return {}

    # Only eyes wait for a timeline, and every case says several facts at a time.
    @hears_all(_seen_of_others, load=hearing.load_views, lingers=True)
    def note_fact(self, unit: Unit, event: Event, loaded: Views) -> None:
        """Show what people may see of it, and what it changes for them."""
        hearing.note_fact(unit, event, loaded)
