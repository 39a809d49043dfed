"""What notify says: whom it told, by which channel."""

from datetime import datetime

from shared.events.fact import Fact


class NoticeSent(Fact):
    """One notice to one person reached one channel; `status` is a delivery state of services.notify.rules."""

    template: str
    channel: str
    status: str
    sent_at: datetime
    to: str = "applicant"
    """The holder role of whoever was told."""
