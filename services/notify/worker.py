"""What notify hears, and the jobs it runs."""

from collections.abc import Iterable

from services.notify import commands
from services.notify.channels import Channel
from services.notify.commands import Addressees
from services.notify.sending import SendNotice
from shared.bus.handlers import hears
from shared.bus.host import ServiceWorker
from shared.bus.jobs import JobHandler
from shared.db.unit import Unit
from shared.events import approval, intake, materials
from shared.events.fact import Event
from shared.http.ask import Asker


def jobs(channels: Iterable[Channel], asker: Asker) -> dict[str, JobHandler]:
    """Kind of job -> what runs it: one kind a channel, so that a slow one holds up only itself."""
    return {f"{commands.SEND_JOB}.{channel.name}": SendNotice(channel, asker) for channel in channels}


class Worker(ServiceWorker):
    """The worker of notify."""

    name = "notify"

    @hears(intake.CaseSubmitted, load=commands.load_addressees, patient=True)
    def remember_case(self, unit: Unit, event: Event, loaded: Addressees) -> None:
        """Know whom to tell, and tell that the application was received."""
        commands.remember_case(unit, event, loaded)

    @hears(approval.CorrectionRequired, load=commands.load_addressees)
    def tell_correction(self, unit: Unit, event: Event, loaded: Addressees) -> None:
        """Tell everything that is missing, once."""
        commands.tell(unit, event, loaded)

    @hears(approval.CaseAccepted, load=commands.load_addressees)
    def tell_acceptance(self, unit: Unit, event: Event, loaded: Addressees) -> None:
        """Tell that the case is accepted and until when it will be decided."""
        commands.tell(unit, event, loaded)

    @hears(approval.CaseDecided, load=commands.load_addressees)
    def tell_decision(self, unit: Unit, event: Event, loaded: Addressees) -> None:
        """Tell the decision."""
        commands.tell(unit, event, loaded)

    @hears(materials.CertificateIssued, load=commands.load_addressees)
    def tell_certificate(self, unit: Unit, event: Event, loaded: Addressees) -> None:
        """Tell that the certificate is there."""
        commands.tell(unit, event, loaded)
