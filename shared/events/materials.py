"""What materials says: how each required material was met, and which certificate was issued."""

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel

from shared.events.fact import Code, Fact
from shared.events.view import As, Seen, ViewChange, Words

MET = frozenset(("matched", "self_provided"))
"""The outcomes of what is there."""


class MatchedMaterial(BaseModel):
    """How one required material stands.

    `outcome` is `matched` or `self_provided` when it is met, else `needs_consent` or `self_provide`: what its
    holder has or has not is told to nobody.
    """

    material: Code
    outcome: Code
    source: Code | None = None


class MaterialsMatched(Fact):
    """Every required material was looked at. `gaps` names all that is missing, at once (行政许可法 art.
    32)."""

    seen = Seen(
        Words("材料核验完成", "Materials checked"),
        shown={"gaps": As.MATERIALS},
        lines=(Words("还缺：{gaps}", "Missing: {gaps}"), Words("所需材料已齐全", "Nothing is missing")),
    )

    round: int
    """1 for the match after submission, then one more for each that is told of: when all is there, or when a
    consent is given or withdrawn."""
    outcomes: list[MatchedMaterial]
    gaps: list[Code]
    matched_at: datetime
    consent_withdrawn: bool = False
    """A holder took their consent back before this look: what is missing now was not overlooked before."""
    last_received_at: datetime
    """When the last material arrived; acceptance of a corrected application dates from here."""

    def changes(self) -> ViewChange:
        return {"materials": [outcome.model_dump() for outcome in self.outcomes]}


class MaterialsPartlyMatched(Fact):
    """A holder's consent met a part of what is missing. Nobody is asked for the rest again: it stands in the
    one notice (行政许可法 art. 32)."""

    seen = Seen(
        Words("持证人同意后已重新核验材料", "Materials checked again after a consent"),
        shown={"gaps": As.MATERIALS},
        lines=(Words("还缺：{gaps}", "Missing: {gaps}"),),
    )

    round: int
    """Counted with those of `MaterialsMatched`."""
    outcomes: list[MatchedMaterial]
    gaps: list[Code]
    matched_at: datetime

    def changes(self) -> ViewChange:
        return {"materials": [outcome.model_dump() for outcome in self.outcomes]}


class CertificateIssued(Fact):
    """The result certificate of an approved case exists and is valid."""

    seen = Seen(
        Words("电子证照签发", "Certificate issued"),
        shown={"certificate_type": As.RESULT},
        lines=(Words("{certificate_type}", "{certificate_type}"),),
    )

    certificate: UUID
    certificate_type: Code
    issued_at: datetime
