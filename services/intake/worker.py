"""What intake hears: everything, because the citizen's timeline shows everything."""

from collections.abc import Sequence
from datetime import datetime
from functools import partial

from sqlalchemy import Connection

from services.intake import commands, restored, retention, sealed
from services.intake.commands import Views
from shared.bus.handlers import hears
from shared.bus.host import ServiceWorker
from shared.bus.unit import Unit
from shared.events import approval, materials, notify
from shared.events.fact import Event

# Only eyes wait for a timeline, and every case says several facts at a time.
_shows = partial(hears, load=commands.load_views, lingers=True)


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

    @_shows(materials.MaterialsMatched)
    def note_match(self, unit: Unit, event: Event, loaded: Views) -> None:
        """Show how each material was met."""
        commands.note_fact(unit, event, loaded)

    @_shows(materials.CertificateIssued)
    def note_certificate(self, unit: Unit, event: Event, loaded: Views) -> None:
        """Show that the certificate exists."""
        commands.note_fact(unit, event, loaded)

    @_shows(approval.CorrectionRequired)
    def note_correction(self, unit: Unit, event: Event, loaded: Views) -> None:
        """Show what the citizen must do."""
        commands.note_fact(unit, event, loaded)

    @_shows(approval.CaseAccepted)
    def note_acceptance(self, unit: Unit, event: Event, loaded: Views) -> None:
        """Show the due dates."""
        commands.note_fact(unit, event, loaded)

    @_shows(approval.CaseRouted)
    def note_routing(self, unit: Unit, event: Event, loaded: Views) -> None:
        """Show which department has the case."""
        commands.note_fact(unit, event, loaded)

    @_shows(approval.TaskClaimed)
    def note_claim(self, unit: Unit, event: Event, loaded: Views) -> None:
        """Show that an officer is at it."""
        commands.note_fact(unit, event, loaded)

    @_shows(approval.TaskReleased)
    def note_release(self, unit: Unit, event: Event, loaded: Views) -> None:
        """Show that it went back to the queue."""
        commands.note_fact(unit, event, loaded)

    @_shows(approval.StepPassed)
    def note_step(self, unit: Unit, event: Event, loaded: Views) -> None:
        """Show that a step is done."""
        commands.note_fact(unit, event, loaded)

    @_shows(approval.CaseDecided)
    def note_decision(self, unit: Unit, event: Event, loaded: Views) -> None:
        """Show the decision."""
        commands.note_fact(unit, event, loaded)

    @_shows(approval.CaseClosed)
    def note_close(self, unit: Unit, event: Event, loaded: Views) -> None:
        """Show that nothing is left to do."""
        commands.note_fact(unit, event, loaded)

    @_shows(notify.NoticeSent)
    def note_notice(self, unit: Unit, event: Event, loaded: Views) -> None:
        """Show what the citizen was told."""
        commands.note_fact(unit, event, loaded)
