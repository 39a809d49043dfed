"""What intake says: a citizen applied or supplied what was asked for, a holder agreed that certificates are
read, or took that back."""

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from pydantic import Field

from shared.events.fact import Code, Event, Fact
from shared.events.view import As, Seen, ViewChange, Words


class ConsentBasis(StrEnum):
    """By what a holder's consent is proven. A one-time code proves a phone and is none of them."""

    OWN = "own"
    """Given by the holder, under their own verified log-in."""
    PROXY = "proxy"
    """Given by whoever acts for the holder, whose authority (guardianship, 委托书) a counter has seen."""


class WithdrawnBy(StrEnum):
    """Who took a consent back."""

    HOLDER = "holder"
    """The holder, under their own verified log-in."""
    COUNTER = "counter"
    """A counter noted it, for the holder or for whoever had agreed in their place."""


class CaseSubmitted(Fact):
    """An application was received (收件). The case stays on this matter version for its whole life."""

    seen = Seen(
        Words("收到申请", "Application received"),
        shown={"channel": As.CHANNEL},
        lines=(Words("渠道：{channel}", "Through: {channel}"),),
    )

    matter: Code
    matter_version: int
    region: Code
    """Six-digit division code (GB/T 2260) of the deciding region."""
    applicant: UUID
    holders: dict[Code, UUID]
    """Whose certificates may be asked for: holder role -> person_ref."""
    facts: dict[Code, str | int | float | bool | None]
    """The non-identifying answers that the matter declares under `facts:`."""
    consents: dict[Code, ConsentBasis]
    """Whose certificates may be read for this case by now: holder role -> how consent is proven."""
    uploads: dict[Code, UUID] = Field(default_factory=dict)
    """Material code -> upload, for what the applicant attached."""
    channel: Code
    locale: Code = "zh-CN"
    received_at: datetime


class MaterialsSupplied(Fact):
    """The citizen sent what a correction notice (补正告知) asked for."""

    seen = Seen(
        Words("您提交了补正材料", "Materials received from you"),
        shown={"materials": As.MATERIALS},
        lines=(Words("{materials}", "{materials}"),),
    )

    uploads: dict[Code, UUID]
    supplied_at: datetime

    @property
    def materials(self) -> list[str]:
        """What was sent, by material code."""
        return sorted(self.uploads)

    def changes(self) -> ViewChange:
        return {"supplied": self.materials}


class ConsentGiven(Fact):
    """A holder agreed, after the application, that their certificates are read for this case."""

    seen = Seen(
        Words("持证人同意查询证照", "A holder agreed that certificates are read"),
        shown={"roles": As.HOLDERS},
        lines=(Words("{roles}", "{roles}"),),
    )

    holder: UUID
    roles: list[Code]
    """All roles that this holder has in the case."""
    basis: ConsentBasis
    given_at: datetime

    def changes(self) -> ViewChange:
        return {"consents": dict.fromkeys(self.roles, self.basis.value)}


class ConsentWithdrawn(Fact):
    """A holder's consent is taken back: from here on nothing of theirs is read for this case (PIPL art.
    15)."""

    seen = Seen(
        Words("持证人撤回查询证照的同意", "A holder took back the consent that certificates are read"),
        shown={"roles": As.HOLDERS},
        lines=(Words("{roles}", "{roles}"),),
    )

    holder: UUID
    roles: list[Code]
    """All roles that this holder has in the case."""
    by: WithdrawnBy
    withdrawn_at: datetime

    def changes(self) -> ViewChange:
        return {"consents": dict.fromkeys(self.roles)}


def known_cases(events: Iterable[Event]) -> set[str]:
    """The cases of which a service may have a row already: none of them begins with its event."""
    return {event.case for event in events if not isinstance(event.fact, CaseSubmitted)}
