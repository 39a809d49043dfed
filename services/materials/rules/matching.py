"""Which certificate or upload meets which material of a case, and what is missing.

Sharing comes first (国令716 art. 7): a certificate of trust level A or B (国办函〔2016〕108号) that is valid, in its
normal state and the right person's; else what the citizen uploaded; else it is a gap.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Any, Literal
from uuid import UUID

from shared.catalogue.matter import Material, Matter

AUTOMATIC_TRUST = ("A", "B")


class CertificateState(StrEnum):
    """The states of a certificate (GB/T 36904)."""

    NORMAL = "normal"
    REVOKED = "revoked"
    CANCELLED = "cancelled"
    INVALID = "invalid"
    TRANSFERRED = "transferred"
    WITHDRAWN = "withdrawn"


class Outcome(StrEnum):
    """How one required material, or one-of group, was met or why not."""

    MATCHED = "matched"
    EXPIRED = "expired"
    REVOKED = "revoked"
    HOLDER_MISMATCH = "holder_mismatch"
    NOT_FOUND = "not_found"
    SOURCE_UNAVAILABLE = "source_unavailable"
    NEEDS_CONSENT = "needs_consent"
    SELF_PROVIDED = "self_provided"
    SELF_PROVIDE = "self_provide"
    DEFERRED = "deferred"
    COMMITTED = "committed"
    NOT_APPLICABLE = "not_applicable"


# The reason to tell of a group is that of the member nearest to being met.
_TELLING = (
    Outcome.NEEDS_CONSENT,
    Outcome.SOURCE_UNAVAILABLE,
    Outcome.EXPIRED,
    Outcome.REVOKED,
    Outcome.HOLDER_MISMATCH,
    Outcome.NOT_FOUND,
    Outcome.SELF_PROVIDE,
)


@dataclass(frozen=True, slots=True)
class CertificateView:
    """A certificate as matching sees it: nothing of its contents. Validity dates are inclusive; None is open."""

    id: UUID
    type_code: str
    holder_ref: UUID
    state: CertificateState
    trust_level: str
    valid_from: date | None
    valid_until: date | None
    issuer: str


@dataclass(frozen=True, slots=True)
class MaterialOutcome:
    """The outcome of a material; of a one-of group `material` is the group and `met_by` the member that met it."""

    material: str
    outcome: Outcome
    source: Literal["certificate", "upload"] | None = None
    certificate: UUID | None = None
    upload: UUID | None = None
    met_by: str | None = None

    @property
    def met(self) -> bool:
        """Whether nothing is missing here."""
        return self.source is not None


@dataclass(frozen=True, slots=True)
class MatchResult:
    """One outcome per applicable material or group in the matter's order; `gaps` are the required ones not met."""

    outcomes: tuple[MaterialOutcome, ...]
    gaps: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Scene:
    facts: Mapping[str, Any]
    holders: Mapping[str, UUID]
    certificates: Sequence[CertificateView]
    uploads: Mapping[str, UUID]
    consented: bool
    unavailable: Collection[str]
    on: date


def match(
    matter: Matter,
    *,
    facts: Mapping[str, Any],
    holders: Mapping[str, UUID],
    certificates: Iterable[CertificateView],
    uploads: Mapping[str, UUID],
    consented: bool,
    unavailable: Collection[str],
    on: date,
) -> MatchResult:
    """Match every material of a matter. `unavailable` are certificate types whose source does not answer.

    The same input in any order of certificates gives the same result.
    """
    scene = _Scene(facts, holders, _by_preference(certificates), uploads, consented, unavailable, on)
    outcomes: list[MaterialOutcome] = []
    gaps: list[str] = []
    for name, members in _asked(matter, facts).items():
        outcome = _outcome(name, members, scene)
        outcomes.append(outcome)
        if not outcome.met and any(member.necessity != "optional" for member in members):
            gaps.append(name)
    return MatchResult(tuple(outcomes), tuple(gaps))


def is_valid(certificate: CertificateView, on: date) -> bool:
    """Whether a certificate may be relied on that day: normal, within its dates, verified by an authority."""
    return (
        certificate.state is CertificateState.NORMAL
        and certificate.trust_level in AUTOMATIC_TRUST
        and (certificate.valid_from is None or certificate.valid_from <= on)
        and (certificate.valid_until is None or on <= certificate.valid_until)
    )


def _asked(matter: Matter, facts: Mapping[str, Any]) -> dict[str, list[Material]]:
    """The materials that apply, under their own code or their group's, in the matter's order."""
    asked: dict[str, list[Material]] = {}
    for material in matter.materials:
        if _holds(material.condition, facts):
            asked.setdefault(material.group or material.code, []).append(material)
    return asked


def _outcome(name: str, members: Sequence[Material], scene: _Scene) -> MaterialOutcome:
    for member in members:
        found = _certificate_for(member, scene)
        if found is not None:
            return MaterialOutcome(
                name, Outcome.MATCHED, "certificate", certificate=found.id, met_by=member.code
            )
    for member in members:
        upload = scene.uploads.get(member.code)
        if upload is not None and member.upload:
            return MaterialOutcome(name, Outcome.SELF_PROVIDED, "upload", upload=upload, met_by=member.code)
    return MaterialOutcome(name, min((_reason(member, scene) for member in members), key=_TELLING.index))


def _certificate_for(material: Material, scene: _Scene) -> CertificateView | None:
    holder = scene.holders.get(material.holder) if material.holder else None
    if material.certificate_type is None or holder is None or not scene.consented:
        return None
    if material.certificate_type in scene.unavailable:
        return None
    return next(
        (
            certificate
            for certificate in scene.certificates
            if certificate.type_code == material.certificate_type
            and certificate.holder_ref == holder
            and is_valid(certificate, scene.on)
        ),
        None,
    )


def _reason(material: Material, scene: _Scene) -> Outcome:
    """Why no certificate met a material: the state of the holder's own best one, if there is any."""
    if material.certificate_type is None:
        return Outcome.SELF_PROVIDE
    if not scene.consented:
        return Outcome.NEEDS_CONSENT
    if material.certificate_type in scene.unavailable:
        return Outcome.SOURCE_UNAVAILABLE
    holder = scene.holders.get(material.holder) if material.holder else None
    of_type = [c for c in scene.certificates if c.type_code == material.certificate_type]
    reasons = [_flaw(c, scene.on) for c in of_type if c.holder_ref == holder]
    if reasons:
        return min(reasons, key=_TELLING.index)
    return Outcome.HOLDER_MISMATCH if of_type else Outcome.NOT_FOUND


def _flaw(certificate: CertificateView, on: date) -> Outcome:
    if certificate.state is not CertificateState.NORMAL:
        return Outcome.REVOKED
    if certificate.valid_until is not None and certificate.valid_until < on:
        return Outcome.EXPIRED
    # Not yet valid, or only a copy that nobody verified: there is nothing to use yet, and nobody's fault.
    return Outcome.NOT_FOUND


def _by_preference(certificates: Iterable[CertificateView]) -> tuple[CertificateView, ...]:
    """Most trusted first, then the longest valid, then the latest begun; the id decides between equals."""
    return tuple(
        sorted(
            certificates,
            key=lambda c: (
                c.trust_level,
                -(c.valid_until or date.max).toordinal(),
                -(c.valid_from or date.min).toordinal(),
                c.id,
            ),
        )
    )


def _holds(condition: Mapping[str, Any] | None, facts: Mapping[str, Any]) -> bool:
    """Every named fact has the value, or one of the values; a fact nobody stated has none."""
    return all(
        name in facts and facts[name] in (wanted if isinstance(wanted, list | tuple) else [wanted])
        for name, wanted in (condition or {}).items()
    )
