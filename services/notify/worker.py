"""What notify hears, and the jobs it runs."""

from collections.abc import Sequence
from datetime import datetime

import structlog
from nameko.timer import timer
from sqlalchemy import Connection

from services.notify import commands, restored, retention, sealed, trouble
from services.notify.channels import code_channels, open_channels
from services.notify.commands import Addressees
from services.notify.sending import CODE_JOB, SendCode, SendNotice
from shared.bus.context import ServiceContext
from shared.bus.handlers import hears
from shared.bus.host import ServiceWorker
from shared.bus.jobs import AnyHandler
from shared.bus.unit import Unit, unit_of
from shared.db.outages import DatabaseAway
from shared.describe import kind_of
from shared.events import approval, intake, materials
from shared.events.fact import Event

_log = structlog.get_logger()


class Worker(ServiceWorker):
    """The worker of notify."""

    name = "notify"
    keeps = retention.RULES
    seals = sealed.SEALED
    troubles = trouble.SOURCES

    @classmethod
    def restored(cls, connection: Connection, at: datetime, lost_cases: Sequence[str]) -> dict[str, int]:
        """What the copy would send now may have been sent since: it is asked for first."""
        return {"deliveries": restored.doubt_open_deliveries(connection, at)}

    @classmethod
    def jobs(cls, context: ServiceContext) -> dict[str, AnyHandler]:
        """Kinds of their own for each channel, so that a slow one holds up only itself; of several channels
        to one kind of contact the first sends its codes."""
        found: dict[str, AnyHandler] = {}
        for channel in open_channels(context.settings):
            found[f"{commands.SEND_JOB}.{channel.name}"] = SendNotice(channel, context.asker)
            found.setdefault(f"{CODE_JOB}.{channel.address}", SendCode(channel, context.asker))
        return found

    @timer(interval=30, eager=True)  # type: ignore[untyped-decorator]
    def say_channels(self) -> None:
        """Say to which kinds of contact one-time codes can be sent: only a worker knows."""
        try:
            with self.context.exclusion.aside(), unit_of(self.context, "channels.say") as unit:
                commands.say_channels(unit, code_channels(self.context.settings))
        except DatabaseAway as error:
            _log.warning("saying_channels_repeats", service=self.name, error=kind_of(error))

    @hears(intake.CaseSubmitted, load=commands.load_addressees, lingers=True)
    def remember_case(self, unit: Unit, event: Event, loaded: Addressees) -> None:
        """Know whom to tell, and tell that the application was received."""
        commands.remember_case(unit, event, loaded)

    @hears(intake.ConsentGiven, load=commands.load_addressees)
    def tell_consent(self, unit: Unit, event: Event, loaded: Addressees) -> None:
        """Tell a holder that somebody agreed for them."""
        commands.tell_consent(unit, event, loaded)

    @hears(intake.ConsentWithdrawn, load=commands.load_addressees)
    def tell_withdrawal(self, unit: Unit, event: Event, loaded: Addressees) -> None:
        """Tell a holder that a counter noted their withdrawal."""
        commands.tell_withdrawal(unit, event, loaded)

    @hears(approval.MaterialsAskedAgain, load=commands.load_addressees)
    def tell_asked_again(self, unit: Unit, event: Event, loaded: Addressees) -> None:
        """Tell what is missing since a holder withdrew."""
        commands.tell_asked_again(unit, event, loaded)

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
