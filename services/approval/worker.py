"""What approval hears."""

from services.approval import commands, gauges, retention, sealed
from services.approval.commands import Files
from shared.bus.handlers import hears
from shared.bus.host import ServiceWorker
from shared.bus.unit import Unit
from shared.events import intake, materials
from shared.events.fact import Event


class Worker(ServiceWorker):
    """The worker of approval."""

    name = "approval"
    keeps = retention.RULES
    seals = sealed.SEALED
    measures = gauges.MEASURES

    @hears(intake.CaseSubmitted, load=commands.load_files, lingers=True)
    def open_case(self, unit: Unit, event: Event, loaded: Files) -> None:
        """Keep the state of a new case."""
        commands.open_case(unit, event, loaded)

    @hears(materials.MaterialsMatched, load=commands.load_files)
    def judge_materials(self, unit: Unit, event: Event, loaded: Files) -> None:
        """Accept a complete application, or ask for everything that is missing."""
        commands.judge_materials(unit, event, loaded)

    @hears(materials.MaterialsPartlyMatched, load=commands.load_files)
    def note_look(self, unit: Unit, event: Event, loaded: Files) -> None:
        """Know which look at the materials a decision rests on."""
        commands.note_look(unit, event, loaded)

    @hears(materials.CertificateIssued, load=commands.load_files)
    def close_after_issue(self, unit: Unit, event: Event, loaded: Files) -> None:
        """Close a case whose certificate exists."""
        commands.close_after_issue(unit, event, loaded)
