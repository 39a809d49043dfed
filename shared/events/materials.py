"""What materials says: how each required material was met, and which certificate was issued."""

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel

from shared.events.fact import Fact


class MatchedMaterial(BaseModel):
    """How one required material stands.

    `outcome` is `matched` or `self_provided` when it is met, else `needs_consent` or `self_provide`: what its
    holder has or has not is told to nobody.
    """

    material: str
    outcome: str
    source: str | None = None


class MaterialsMatched(Fact):
    """Every required material was looked at. `gaps` names all that is missing, at once (行政许可法 art.
    32)."""

    round: int
    """1 for the match after submission, then one more for each complete supply."""
    outcomes: list[MatchedMaterial]
    gaps: list[str]
    matched_at: datetime
    last_received_at: datetime
    """When the last material arrived; acceptance of a corrected application dates from here."""


class CertificateIssued(Fact):
    """The result certificate of an approved case exists and is valid."""

    certificate: UUID
    certificate_type: str
    issued_at: datetime
