"""The matter: everything one service item says about itself, in the terms of GB/T 39046—2020."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import Annotated, Any

from pydantic import Field, StrictBool, StringConstraints

from shared.catalogue.form import FormChecker, cleaned
from shared.catalogue.pointers import MISSING, follow
from shared.catalogue.terms import (
    AgentGround,
    AnotherWhileOpen,
    ApplicantKind,
    Code,
    Condition,
    Count,
    EventKind,
    ExerciseLevel,
    FilingForm,
    Limit,
    MediaType,
    Names,
    Necessity,
    Part,
    Pointer,
    ProjectType,
    Scalar,
    SilencePolicy,
    Slug,
    SourceKind,
    Text,
    holds,
)
from shared.errors import FieldError


class Department(Part):
    """A department that has a part in the matter."""

    names: Names
    credit_code: Annotated[str, StringConstraints(strict=True, pattern=r"^[0-9A-Z]{18}$")]
    """Unified social credit code (GB 32100)."""


class Visits(Part):
    """到办事现场次数: how often the applicant must come in person."""

    count: Annotated[Count, Field(le=9)] = 0
    reason: Names | None = None
    """必须现场办理原因; needed unless the count is 0."""


class AcceptanceCondition(Part):
    """受理条件: what must be true for a grant; officers judge it, nothing here refuses an application."""

    code: Code
    text: Names


class FactSource(Part):
    """Where in the form a fact comes from: the value of a field, or whether a field is filled in."""

    value: Pointer | None = None
    present: Pointer | None = None


class HolderRole(Part):
    """A person in the case whose certificates may be asked for."""

    names: Names
    person: Pointer
    """The block of the form with this person's `name`, `id_number` and, if asked, `phone` and `email`."""


class Material(Part):
    """One material (申请材料)."""

    code: Code
    names: Names
    certificate_types: tuple[Code, ...] = ()
    """The electronic certificates that serve as this material, when it can be fetched."""
    holder_role: Code = "applicant"
    one_of: Code | None = None
    """The group of which any one material is enough."""
    condition: Condition | None = None
    """When this material is needed at all; always, when left out."""
    necessity: Necessity = Necessity.REQUIRED
    source: SourceKind
    commitment_allowed: StrictBool = False
    """A signed commitment may stand in for it (告知承诺)."""
    accept: tuple[MediaType, ...] = ()
    """Media types of an upload."""
    legal_basis: Text

    @property
    def uploadable(self) -> bool:
        """Whether the citizen may bring it."""
        return self.source is not SourceKind.SHARE

    @property
    def shareable(self) -> bool:
        """Whether it can be fetched from a certificate."""
        return self.source is not SourceKind.SELF_PROVIDE


class Fee(Part):
    """收费."""

    amount_cny: Annotated[Decimal, Field(ge=0, max_digits=16, decimal_places=2)]
    basis: Text | None = None
    """收费依据; needed unless the amount is 0."""


class Step(Part):
    """One step of the handling (办理环节), in one department's queue."""

    code: Code
    names: Names
    department: Slug
    queue: Slug
    """The queue of the service hall in which its tasks lie."""
    decides: StrictBool = False
    limit: Limit | None = None
    condition: Condition | None = None
    parallel: Code | None = None
    """Neighbouring steps with the same name run side by side (并联)."""
    silence_policy: SilencePolicy = SilencePolicy.NONE


class AutomaticDecision(Part):
    """秒批: may approve or leave the case to an officer; it never denies."""

    approve_when: Condition
    basis: Text


class Validity(Part):
    """How long a result certificate is valid; `months` left out: without end."""

    months: Annotated[Count, Field(ge=1)] | None = None
    endorsement_months: Annotated[Count, Field(ge=1)] | None = None
    """How often it must be endorsed (签注)."""


class ResultCertificate(Part):
    """办理结果: the certificate that an approval issues."""

    certificate_type: Code
    directory_code: Annotated[str, StringConstraints(strict=True, pattern=r"^[0-9A-Z]{18}[0-9]{3}$")]
    """Type code of GB/T 36904: credit code of the defining authority and three digits."""
    names: Names
    validity: Validity


class Notice(Part):
    """Which template tells whom about a fact; `when` looks into the fact."""

    fact: Slug
    """`<service>.<fact-in-past-tense>`, such as `approval.case-decided`."""
    when: Condition | None = None
    template: Slug
    to: Annotated[tuple[Code, ...], Field(min_length=1)] = ("applicant",)
    """The holder roles that are told; whoever has two of them is told once."""


class Channel(Part):
    """A way to apply."""

    code: Code
    form: FilingForm
    names: Names


class Remedies(Part):
    """What can be done against a refusal; printed in every one (行政复议法, 行政诉讼法)."""

    reconsideration_authority: Names
    reconsideration_days: Annotated[Count, Field(ge=60)]
    """At least 60 days from learning of the decision (行政复议法 art. 20)."""
    litigation_court: Names
    litigation_months: Annotated[Count, Field(ge=1)]

    def sentence(self, locale: str) -> str:
        """The sentence that every refusal ends with."""
        authority = self.reconsideration_authority.within(locale)
        court = self.litigation_court.within(locale)
        if locale.lower().startswith("zh"):
            return (
                f"如不服本决定，可以自知道本决定之日起{self.reconsideration_days}日内向{authority}申请行政复议，"
                f"或者在{self.litigation_months}个月内依法向{court}提起行政诉讼。"
            )
        return (
            f"If you disagree with this decision you may, within {self.reconsideration_days} days of "
            f"learning of it, apply to {authority} for administrative reconsideration, or within "
            f"{self.litigation_months} months bring an action before {court}."
        )


class AgentPolicy(Part):
    """For whom somebody else may apply (代办)."""

    role: Code
    """The holder role that the agent has in this matter."""
    allowed_for: Annotated[tuple[AgentGround, ...], Field(min_length=1)]
    disabled_when: Condition | None = None
    """The facts by which the applicant counts as disabled; needed for `disabled`."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """One thing that must be met: a material, or a group of which any one material is enough."""

    code: str
    names: Names
    members: tuple[Material, ...]
    """In the order of the file; those whose condition does not hold are left out when facts were given."""


class Matter(Part):
    """One service item (政务服务事项实施清单) in one version. A published version never changes."""

    code: Annotated[
        str, StringConstraints(strict=True, pattern=r"^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+$", max_length=100)
    ]
    version: Annotated[Count, Field(ge=1)]
    catalog_code: Annotated[str, StringConstraints(strict=True, pattern=r"^[0-9A-Z]{10,12}$")]
    """基本编码."""
    task_code: Annotated[str, StringConstraints(strict=True, pattern=r"^[0-9A-Z]{1,50}$")]
    """实施编码: credit code of the implementing body, level, 基本编码."""
    task_version: Annotated[Count, Field(ge=1)]
    """事项版本 in the national catalogue."""
    names: Names
    colloquial_names: tuple[Text, ...] = ()
    """日常用语: what people call it; the search finds these."""
    kind: EventKind
    project_type: ProjectType
    theme: Code
    region: Annotated[str, StringConstraints(strict=True, pattern=r"^[1-9][0-9]{5}$")]
    """Division code (GB/T 2260) of the deciding region."""
    level: ExerciseLevel
    applicant_kinds: Annotated[tuple[ApplicantKind, ...], Field(min_length=1)]
    departments: Annotated[dict[Slug, Department], Field(min_length=1)]
    department: Slug
    """实施主体: whose decision it is."""
    legal_basis: Annotated[tuple[Text, ...], Field(min_length=1)]
    """设定依据."""
    legal_limit: Limit
    promised_limit: Limit
    visits: Visits
    conditions: tuple[AcceptanceCondition, ...] = ()
    form: dict[str, Any]
    """JSON Schema 2020-12 of the form. Free text says whether it is personal: x-personal."""
    consent: Pointer
    """The form field in which whoever applies agrees that their own certificates are fetched."""
    language: Pointer | None = None
    """The form field that says in which language notices come: zh-CN or en."""
    facts: dict[Code, FactSource] = Field(default_factory=dict)
    """The non-identifying answers that events carry and that conditions read."""
    holders: Annotated[dict[Code, HolderRole], Field(min_length=1)]
    agent: AgentPolicy | None = None
    one_of_groups: dict[Code, Names] = Field(default_factory=dict)
    materials: tuple[Material, ...] = ()
    fee: Fee
    steps: Annotated[tuple[Step, ...], Field(min_length=1)]
    recusal: StrictBool = True
    """回避: officers of whom nobody knows which person they are handle none of its cases."""
    automatic_decision: AutomaticDecision | None = None
    result: ResultCertificate | None = None
    another_while_open: AnotherWhileOpen = AnotherWhileOpen.BY_CHOICE
    """Whether somebody may apply once more while their last application is not decided."""
    notices: tuple[Notice, ...] = ()
    channels: Annotated[tuple[Channel, ...], Field(min_length=1)]
    remedies: Remedies

    def cleaned(self, form: Mapping[str, Any]) -> dict[str, Any]:
        """A form as it is judged and kept: without what its sender could not see."""
        found: dict[str, Any] = cleaned(self.form, form)
        return found

    def validate_form(self, form: object) -> list[FieldError]:
        """Everything that is wrong with the form, in the order of its pointers; empty when nothing is."""
        return self._checker.errors(form)

    def facts_of(self, form: Mapping[str, Any]) -> dict[str, Scalar]:
        """The facts that a valid form states; null for what was left out."""
        return {name: _fact(source, form) for name, source in self.facts.items()}

    def consented(self, form: Mapping[str, Any]) -> bool:
        """Whether whoever applied agreed that their own certificates are fetched."""
        return follow(form, self.consent) is True

    def requirements(self, facts: Mapping[str, Scalar] | None = None) -> tuple[Requirement, ...]:
        """What must be met, in the order of the file. With facts, members that do not apply are left out;
        a requirement without members does not apply to this case."""
        if facts is None:
            return self._requirements
        return tuple(
            Requirement(one.code, one.names, tuple(m for m in one.members if holds(m.condition, facts)))
            for one in self._requirements
        )

    def names_of_requirement(self, code: str) -> Names:
        """What a material or a one-of group is called. Raises KeyError."""
        if code in self.one_of_groups:
            return self.one_of_groups[code]
        return self._material_by_code[code].names

    def material(self, code: str) -> Material:
        """One material. Raises KeyError."""
        return self._material_by_code[code]

    def uploads_for(self, code: str, facts: Mapping[str, Scalar] | None = None) -> tuple[str, ...]:
        """The codes under which the citizen may bring what `code`, a material or a group, asks for."""
        for requirement in self.requirements(facts):
            if requirement.code == code:
                return tuple(member.code for member in requirement.members if member.uploadable)
        return ()

    def certificate_types(self, facts: Mapping[str, Scalar] | None = None) -> frozenset[str]:
        """The certificates that may be looked at; with facts, only those that this case needs."""
        return frozenset(wanted for member in self._shareable(facts) for wanted in member.certificate_types)

    def certificate_types_of(
        self, role: str, facts: Mapping[str, Scalar], but: Collection[str] = ()
    ) -> frozenset[str]:
        """Those of them that are looked for with the holder of this role, not for what is in `but`, materials
        and groups."""
        return frozenset(
            wanted
            for member in self._shareable(facts)
            if member.holder_role == role and (member.one_of or member.code) not in but
            for wanted in member.certificate_types
        )

    def roles_read(self, facts: Mapping[str, Scalar]) -> frozenset[str]:
        """The holder roles whose certificates this case looks for."""
        return frozenset(member.holder_role for member in self._shareable(facts))

    def _shareable(self, facts: Mapping[str, Scalar] | None) -> Iterator[Material]:
        for requirement in self.requirements(facts):
            yield from (member for member in requirement.members if member.shareable)

    def language_of(self, form: Mapping[str, Any]) -> str | None:
        """The language that a valid form asks notices in; None when it does not say."""
        said = MISSING if self.language is None else follow(form, self.language)
        return None if said is MISSING else said

    def notice_for(self, fact: str, payload: Mapping[str, Scalar]) -> Notice | None:
        """The notice about a fact such as `approval.case-decided`; the first that fits, or None."""
        for notice in self.notices:
            if notice.fact == fact and holds(notice.when, payload):
                return notice
        return None

    def step(self, code: str) -> Step:
        """One step. Raises KeyError."""
        for step in self.steps:
            if step.code == code:
                return step
        raise KeyError(code)

    @cached_property
    def _checker(self) -> FormChecker:
        return FormChecker(self.form)

    @cached_property
    def _requirements(self) -> tuple[Requirement, ...]:
        grouped: dict[str, list[Material]] = {}
        for material in self.materials:
            grouped.setdefault(material.one_of or material.code, []).append(material)
        return tuple(
            Requirement(code, self.names_of_requirement(code), tuple(members))
            for code, members in grouped.items()
        )

    @cached_property
    def _material_by_code(self) -> dict[str, Material]:
        return {material.code: material for material in self.materials}


def _fact(source: FactSource, form: Mapping[str, Any]) -> Scalar:
    if source.present is not None:
        return follow(form, source.present) is not MISSING
    assert source.value is not None
    value = follow(form, source.value)
    return None if value is MISSING else value
