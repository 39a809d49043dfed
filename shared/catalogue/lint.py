"""What must hold of a matter beyond the shape of its parts: references, invariants, rules of law."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any

from stdnum.cn import uscc

from shared.catalogue.form import EMAIL, ID_NUMBER, MOBILE
from shared.catalogue.lint_facts import (
    Domain,
    condition_findings,
    fact_domains,
    fact_findings,
    form_fields,
    near,
    unknown_pointer,
)
from shared.catalogue.lint_form import Finding, form_findings
from shared.catalogue.lint_release import release_findings
from shared.catalogue.lint_steps import step_findings
from shared.catalogue.matter import HolderRole, Material, Matter
from shared.catalogue.pointers import FormField
from shared.catalogue.positions import Loc
from shared.catalogue.terms import AgentGround, DayOff, Limit, Necessity, ProjectType, SourceKind, TimeUnit
from shared.events import Fact, fact_classes

APPLICANT = "applicant"
LANGUAGES = frozenset(("zh-CN", "en"))
"""What notices are written in."""


def findings(matter: Matter) -> list[Finding]:
    """Everything that is wrong with a matter whose parts have the right shape."""
    broken = list(form_findings(matter.form))
    if any(found.loc == ("form",) for found in broken):
        return broken
    domains = fact_domains(matter)
    return [
        *broken,
        *_limits(matter),
        *_codes(matter),
        *_people(matter),
        *fact_findings(matter),
        *_materials(matter, domains),
        *step_findings(matter, domains),
        *_notices(matter),
        *release_findings(matter),
    ]


def _limits(matter: Matter) -> Iterator[Finding]:
    limits: list[tuple[Loc, Limit]] = [
        (("legal_limit",), matter.legal_limit),
        (("promised_limit",), matter.promised_limit),
    ]
    limits += [(("steps", n, "limit"), step.limit) for n, step in enumerate(matter.steps) if step.limit]
    for loc, limit in limits:
        if (limit.unit is TimeUnit.INSTANT) != (limit.amount == 0):
            yield Finding(
                (*loc, "amount"),
                "the amount does not fit the unit",
                "0 for instant, 1 or more for all others",
            )
        if limit.on_day_off is not DayOff.NEXT_WORKING_DAY and limit.unit is not TimeUnit.NATURAL_DAY:
            yield Finding(
                (*loc, "on_day_off"), "only natural days can end on a day off", "take it out of this limit"
            )
    if not matter.promised_limit.surely_within(matter.legal_limit):
        yield Finding(
            ("promised_limit",),
            "the promise may end after the legal limit",
            f"promise at most {matter.legal_limit.amount} {matter.legal_limit.unit}, in this unit",
        )
    if (matter.project_type is ProjectType.INSTANT) != (matter.promised_limit.unit is TimeUnit.INSTANT):
        yield Finding(
            ("project_type",),
            "project_type and promised_limit disagree",
            "instant goes with the unit instant, and only so",
        )
    if matter.visits.count and matter.visits.reason is None:
        yield Finding(
            ("visits",), "the applicant must come, but nobody says why", "add the reason, or make it 0 visits"
        )
    if matter.fee.amount_cny and matter.fee.basis is None:
        yield Finding(("fee",), "a fee without its basis may not be charged", "add the basis (收费依据)")


def _codes(matter: Matter) -> Iterator[Finding]:
    for name, items in (
        ("materials", matter.materials),
        ("steps", matter.steps),
        ("conditions", matter.conditions),
        ("channels", matter.channels),
    ):
        yield from _twice(name, [item.code for item in items])
    for slug, department in matter.departments.items():
        if not uscc.is_valid(department.credit_code):
            yield Finding(
                ("departments", slug, "credit_code"), "the check character is wrong", "see GB 32100"
            )
    if matter.department not in matter.departments:
        known = near(matter.department, matter.departments, "departments")
        yield Finding(("department",), f"the department '{matter.department}' is not declared", known)
    elif len(matter.task_code) == 31:
        owner = matter.departments[matter.department].credit_code
        right = f"{owner}{matter.level}{matter.catalog_code}"
        if matter.task_code != right:
            wrong = "the task code is not credit code, level and catalogue code"
            yield Finding(("task_code",), wrong, f"from this file follows {right}")
    if matter.result is not None and not uscc.is_valid(matter.result.directory_code[:18]):
        yield Finding(
            ("result", "directory_code"), "the credit code in it has a wrong check character", "see GB 32100"
        )


def _twice(name: str, codes: Sequence[str]) -> Iterator[Finding]:
    counts = Counter(codes)
    for number, code in enumerate(codes):
        if counts[code] > 1:
            yield Finding(
                (name, number, "code"), f"'{code}' stands more than once in {name}", "give each its own code"
            )


def _people(matter: Matter) -> Iterator[Finding]:
    fields = form_fields(matter)
    consent = fields.get(matter.consent)
    if consent is None:
        yield unknown_pointer(("consent",), matter.consent, fields)
    elif consent.schema.get("type") != "boolean":
        yield Finding(("consent",), "the consent field is not a yes or no", "give it 'type: boolean'")
    yield from _language(matter, fields)
    if APPLICANT not in matter.holders:
        yield Finding(("holders",), "nobody is the applicant", "declare the holder role 'applicant'")
    for role, holder in matter.holders.items():
        yield from _holder(role, holder, fields)
    yield from _agent(matter)


def _language(matter: Matter, fields: Mapping[str, FormField]) -> Iterator[Finding]:
    if matter.language is None:
        return
    field = fields.get(matter.language)
    if field is None:
        yield unknown_pointer(("language",), matter.language, fields)
    elif not set(field.schema.get("enum", [None])) <= LANGUAGES:
        yield Finding(
            ("language",),
            f"{matter.language} can say another language than notices come in",
            f"let it be one of: {', '.join(sorted(LANGUAGES))}",
        )


def _holder(role: str, holder: HolderRole, fields: Mapping[str, FormField]) -> Iterator[Finding]:
    loc: Loc = ("holders", role, "person")
    field = fields.get(holder.person)
    if field is None:
        yield unknown_pointer(loc, holder.person, fields)
        return
    inner: Mapping[str, Any] = field.schema.get("properties", {})
    for name in ("name", "id_number"):
        if name not in inner or name not in field.schema.get("required", ()):
            yield Finding(
                loc, f"the block {holder.person} does not require '{name}'", "ask for name and id_number"
            )
    for name, wanted in (("id_number", ID_NUMBER), ("phone", MOBILE), ("email", EMAIL)):
        if name in inner and inner[name].get("format") != wanted:
            yield Finding(loc, f"'{name}' in {holder.person} is not checked", f"add 'format: {wanted}' to it")
    if role == APPLICANT and not field.always:
        yield Finding(loc, "the applicant could be left out", f"make {holder.person} required")


def _agent(matter: Matter) -> Iterator[Finding]:
    policy = matter.agent
    if policy is None:
        return
    if policy.role == APPLICANT or policy.role not in matter.holders:
        others = [role for role in matter.holders if role != APPLICANT]
        yield Finding(
            ("agent", "role"),
            f"'{policy.role}' is not the role of an agent",
            near(policy.role, others, "roles"),
        )
    if (AgentGround.DISABLED in policy.allowed_for) != (policy.disabled_when is not None):
        yield Finding(("agent",), "'disabled' and 'disabled_when' belong together", "give both or neither")


def _materials(matter: Matter, domains: Mapping[str, Domain]) -> Iterator[Finding]:
    fields = form_fields(matter)
    for number, material in enumerate(matter.materials):
        loc: Loc = ("materials", number)
        yield from condition_findings(material.condition, (*loc, "condition"), domains)
        yield from _source(material, loc)
        holder = matter.holders.get(material.holder_role)
        if holder is None:
            known = near(material.holder_role, matter.holders, "roles")
            yield Finding((*loc, "holder_role"), f"the role '{material.holder_role}' is not declared", known)
        elif not material.condition and holder.person in fields and not fields[holder.person].always:
            wrong = f"the {material.holder_role} may be absent, but the material is always needed"
            yield Finding(loc, wrong, "add a condition")
        if material.one_of is not None and material.one_of not in matter.one_of_groups:
            known = near(material.one_of, matter.one_of_groups, "groups")
            yield Finding((*loc, "one_of"), f"the group '{material.one_of}' is not declared", known)
    for group in matter.one_of_groups:
        yield from _group(matter, group)
    policy = matter.agent
    yield from condition_findings(
        policy.disabled_when if policy else None, ("agent", "disabled_when"), domains
    )
    automatic = matter.automatic_decision
    yield from condition_findings(
        automatic.approve_when if automatic else None, ("automatic_decision", "approve_when"), domains
    )


def _source(material: Material, loc: Loc) -> Iterator[Finding]:
    if material.shareable != bool(material.certificate_types):
        yield Finding(
            loc,
            f"source '{material.source}' and certificate_types disagree",
            "name the certificates that can be fetched, or make the source self_provide",
        )
    if material.uploadable != bool(material.accept):
        yield Finding(
            loc,
            f"source '{material.source}' and accept disagree",
            "say what may be uploaded, or make the source share",
        )
    if material.commitment_allowed and material.source is SourceKind.SHARE:
        yield Finding(
            (*loc, "commitment_allowed"), "nobody need commit to what the state holds", "take it out"
        )


def _group(matter: Matter, group: str) -> Iterator[Finding]:
    loc: Loc = ("one_of_groups", group)
    members = [material for material in matter.materials if material.one_of == group]
    if len(members) < 2:
        yield Finding(
            loc, f"the group '{group}' has fewer than two members", "give it two, or drop the group"
        )
    if any(material.code == group for material in matter.materials):
        yield Finding(loc, f"'{group}' is also the code of a material", "give the group a code of its own")
    if len({member.necessity is Necessity.OPTIONAL for member in members}) > 1:
        yield Finding(loc, f"some of '{group}' are optional and some are not", "make them alike")


def _notices(matter: Matter) -> Iterator[Finding]:
    facts = {cls.type.removeprefix("onestop.").rsplit(".", 1)[0]: cls for cls in fact_classes()}
    for number, notice in enumerate(matter.notices):
        loc: Loc = ("notices", number)
        cls = facts.get(notice.fact)
        if cls is None:
            yield Finding(
                (*loc, "fact"), f"no service says '{notice.fact}'", near(notice.fact, sorted(facts), "facts")
            )
            continue
        yield from condition_findings(notice.when, (*loc, "when"), _payload(cls))
        for role in notice.to:
            if role not in matter.holders:
                known = near(role, matter.holders, "roles")
                yield Finding((*loc, "to"), f"the role '{role}' is not declared", known)


def _payload(cls: type[Fact]) -> dict[str, Domain]:
    domains: dict[str, Domain] = {}
    for name, field in cls.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, StrEnum):
            domains[name] = tuple(str(member.value) for member in kind)
        elif kind in (str, int, bool):
            domains[name] = None
    return domains
