"""What materials hears."""

from services.materials import commands, retention, sealed
from services.materials.commands import Checklists
from shared.bus.handlers import hears
from shared.bus.host import ServiceWorker
from shared.bus.unit import Unit
from shared.events import approval, intake
from shared.events.fact import Event


class Worker(ServiceWorker):
    """The worker of materials."""

    name = "materials"
    keeps = retention.RULES
    seals = sealed.SEALED

    @hears(intake.CaseSubmitted, load=commands.load_checklists)
    def match_materials(self, unit: Unit, event: Event, loaded: Checklists) -> None:
        """Match every required material of a new application."""
        commands.match_materials(unit, event, loaded)

    @hears(intake.MaterialsSupplied, load=commands.load_checklists)
    def match_again(self, unit: Unit, event: Event, loaded: Checklists) -> None:
        """Match again with what the citizen supplied."""
        commands.match_again(unit, event, loaded)

    @hears(approval.CaseDecided, load=commands.load_checklists)
    def issue_certificate(self, unit: Unit, event: Event, loaded: Checklists) -> None:
        """Issue the result certificate of an approved case."""
        commands.issue_certificate(unit, event, loaded)
