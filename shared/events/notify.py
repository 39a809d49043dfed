"""What notify says: whom it told, by which channel."""

from datetime import datetime

from shared.events.fact import Code, Fact
from shared.events.view import As, Seen, Words

IN_APP = "inbox"
"""The channel that is this hall itself."""


class NoticeSent(Fact):
    """One notice to one person reached one channel; `status` is a delivery state of services.notify.rules."""

    seen = Seen(
        Words("通知申请人", "Notice to you"),
        shown={
            "template": As.NOTICE,
            "channel": As.NOTICE_CHANNEL,
            "status": As.NOTICE_STATUS,
            "to": As.HOLDERS,
        },
        lines=(Words("{template} · {channel}：{status}", "{template} · {channel}: {status}"),),
        quiet=True,
    )

    template: Code
    channel: Code
    status: Code
    sent_at: datetime
    to: Code = "applicant"
    """The holder role of whoever was told."""

    def only_for(self) -> str | None:
        """How others were told outside of this hall would say whether they can be reached so."""
        return None if self.channel == IN_APP else self.to
