"""Which certificate or upload meets which material of a case, and what is missing.

Sharing comes first (国令716 art. 7): a certificate of trust level A or B (国办函〔2016〕108号), valid, normal
and the right person's; else what the citizen uploaded; else it is a gap.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from types import MappingProxyType
from typing import Literal
from uuid import UUID

from shared.catalogue.matter import Material, Matter
from shared.catalogue.terms import Necessity, Scalar

AUTOMATIC_TRUST = ("A", "B")


class CertificateState(StrEnum):
    """The states of a certificate (of those in GB/T 36904) that are told apart."""

    NORMAL = "normal"
    REVOKED = "revoked"


class MatchOutcome(StrEnum):
    """How one required material, or one-of group, was met or why not."""

    MATCHED = "matched"
    EXPIRED = "expired"
    REVOKED = "revoked"
    HOLDER_MISMATCH = "holder_mismatch"
    NOT_FOUND = "not_found"
    NEEDS_CONSENT = "needs_consent"
    SELF_PROVIDED = "self_provided"
    SELF_PROVIDE = "self_provide"


TOLD = frozenset(
    (
        MatchOutcome.MATCHED,
        MatchOutcome.SELF_PROVIDED,
        MatchOutcome.NEEDS_CONSENT,
        MatchOutcome.SELF_PROVIDE,
    )
)
"""What facts say. Why a certificate did not meet a material would tell others what its holder has."""

# The reason to tell of a group is that of the member nearest to being met.
_TELLING = (
    MatchOutcome.NEEDS_CONSENT,
    MatchOutcome.EXPIRED,
    MatchOutcome.REVOKED,
    MatchOutcome.HOLDER_MISMATCH,
    MatchOutcome.NOT_FOUND,
    MatchOutcome.SELF_PROVIDE,
)


@dataclass(frozen=True, slots=True)
class CertificateView:
    """A certificate without its contents. Both validity dates are inclusive; None is open."""

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
    """The outcome of a material or one-of group."""

    material: str
    outcome: MatchOutcome
    source: Literal["certificate", "upload"] | None = None
    certificate: UUID | None = None
    upload: UUID | None = None

    @property
    def met(self) -> bool:
        """Whether nothing is missing here."""
        return self.source is not None

    @property
    def told(self) -> MatchOutcome:
        """What others may know: met, waiting for the holder's consent, or please bring it."""
        return self.outcome if self.outcome in TOLD else MatchOutcome.SELF_PROVIDE


@dataclass(frozen=True, slots=True)
class MatchResult:
    """One outcome per required material or group that applies, and per optional one that is met, in the
    matter's order. `gaps` are the required ones that are not met."""

    outcomes: tuple[MaterialOutcome, ...]
    gaps: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Given:
    holders: Mapping[str, UUID]
    certificates: Sequence[CertificateView]
    uploads: Mapping[str, UUID]
    consents: Collection[str]
    on: date


def match(
    matter: Matter,
    *,
    facts: Mapping[str, Scalar],
    holders: Mapping[str, UUID],
    certificates: Iterable[CertificateView],
    uploads: Mapping[str, UUID],
    consents: Collection[str],
    on: date,
    settled: Mapping[str, MaterialOutcome] = MappingProxyType({}),
) -> MatchResult:
    """Match every material of a matter. The same input in any order of certificates gives the same result.

    `consents` are the roles whose holders agreed; certificates of the others are as if there were none.
    `settled` are outcomes of an earlier look, by material or group, that stay: see `settled`.
    """
    given = _Given(holders, _by_preference(certificates), uploads, consents, on)
    outcomes: list[MaterialOutcome] = []
    gaps: list[str] = []
    for requirement in matter.requirements(facts):
        if not requirement.members:
            continue
        outcome = settled.get(requirement.code) or _outcome(requirement.code, requirement.members, given)
        required = any(member.necessity is not Necessity.OPTIONAL for member in requirement.members)
        if outcome.met or required:
            outcomes.append(outcome)
        if required and not outcome.met:
            gaps.append(requirement.code)
    return MatchResult(tuple(outcomes), tuple(gaps))


def settled(
    earlier: Mapping[str, MaterialOutcome], withdrawn: Collection[UUID] = ()
) -> dict[str, MaterialOutcome]:
    """What an earlier look found met, which a later one leaves so, and reads nothing again for.

    Its certificate may have ended since. Nobody is asked a second time for that: the decision is the day on
    which certificates are looked at again. `withdrawn` are certificates whose holder does not agree any more.
    """
    return {
        code: outcome
        for code, outcome in earlier.items()
        if outcome.met and outcome.certificate not in withdrawn
    }


def is_valid(certificate: CertificateView, on: date) -> bool:
    """Whether a certificate may be relied on that day: normal, within its dates, verified by an authority."""
    return (
        certificate.state is CertificateState.NORMAL
        and certificate.trust_level in AUTOMATIC_TRUST
        and (certificate.valid_from is None or certificate.valid_from <= on)
        and (certificate.valid_until is None or on <= certificate.valid_until)
    )


def _outcome(name: str, members: Sequence[Material], given: _Given) -> MaterialOutcome:
    for member in members:
        found = _certificate_for(member, given)
        if found is not None:
            return MaterialOutcome(name, MatchOutcome.MATCHED, "certificate", certificate=found.id)
    for member in members:
        upload = given.uploads.get(member.code)
        if upload is not None and member.uploadable:
            return MaterialOutcome(name, MatchOutcome.SELF_PROVIDED, "upload", upload=upload)
    return MaterialOutcome(name, min((_reason(member, given) for member in members), key=_TELLING.index))


def _certificate_for(material: Material, given: _Given) -> CertificateView | None:
    holder = given.holders.get(material.holder_role)
    if holder is None or material.holder_role not in given.consents:
        return None
    wanted = _shared_types(material)
    return next(
        (
            certificate
            for certificate in given.certificates
            if certificate.type_code in wanted
            and certificate.holder_ref == holder
            and is_valid(certificate, given.on)
        ),
        None,
    )


def _shared_types(material: Material) -> frozenset[str]:
    return frozenset(material.certificate_types if material.shareable else ())


def _reason(material: Material, given: _Given) -> MatchOutcome:
    """Why no certificate met a material: the state of the holder's own best one, if there is any."""
    wanted = _shared_types(material)
    if not wanted:
        return MatchOutcome.SELF_PROVIDE
    if material.holder_role not in given.consents:
        return MatchOutcome.NEEDS_CONSENT
    holder = given.holders.get(material.holder_role)
    of_type = [c for c in given.certificates if c.type_code in wanted]
    reasons = [_flaw(c, given.on) for c in of_type if c.holder_ref == holder]
    if reasons:
        return min(reasons, key=_TELLING.index)
    return MatchOutcome.HOLDER_MISMATCH if of_type else MatchOutcome.NOT_FOUND


def _flaw(certificate: CertificateView, on: date) -> MatchOutcome:
    if certificate.state is not CertificateState.NORMAL:
        return MatchOutcome.REVOKED
    if certificate.valid_until is not None and certificate.valid_until < on:
        return MatchOutcome.EXPIRED
    # Not yet valid, or only a copy that nobody verified: there is nothing to use yet, and nobody's fault.
    return MatchOutcome.NOT_FOUND


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
