"""What materials hears, and the jobs it runs."""

from services.materials import commands, retention, sealed
from services.materials.commands import Checklists
from services.materials.issuing import IssueCertificates
from shared.bus.context import ServiceContext
from shared.bus.handlers import hears
from shared.bus.host import ServiceWorker
from shared.bus.jobs import TogetherHandler
from shared.bus.unit import Unit
from shared.events import approval, intake
from shared.events.fact import Event


class Worker(ServiceWorker):
    """The worker of materials."""

    name = "materials"
    keeps = retention.RULES
    seals = sealed.SEALED

    @classmethod
    def jobs(cls, context: ServiceContext) -> dict[str, TogetherHandler]:
        """Issuing certificates."""
        return {commands.ISSUE_JOB: IssueCertificates(context.asker)}

    @hears(intake.CaseSubmitted, load=commands.load_checklists)
    def match_materials(self, unit: Unit, event: Event, loaded: Checklists) -> None:
        """Match every required material of a new application."""
        commands.match_materials(unit, event, loaded)

    @hears(intake.MaterialsSupplied, load=commands.load_checklists)
    def match_again(self, unit: Unit, event: Event, loaded: Checklists) -> None:
        """Match again with what the citizen supplied."""
        commands.match_again(unit, event, loaded)

    @hears(intake.ConsentGiven, load=commands.load_checklists)
    def match_after_consent(self, unit: Unit, event: Event, loaded: Checklists) -> None:
        """Look at the certificates of a holder who has agreed."""
        commands.match_after_consent(unit, event, loaded)

    @hears(intake.ConsentWithdrawn, load=commands.load_checklists)
    def match_without_consent(self, unit: Unit, event: Event, loaded: Checklists) -> None:
        """Do without the certificates of a holder who does not agree any more."""
        commands.match_without_consent(unit, event, loaded)

    @hears(approval.CaseDecided, load=commands.load_checklists)
    def order_certificate(self, unit: Unit, event: Event, loaded: Checklists) -> None:
        """Look at nothing any more; order the result certificate of an approved case."""
        commands.order_certificate(unit, event, loaded)
