"""The matter that comes with the project is right, complete, and means what its comments say."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from services.approval.rules.calendar import WorkCalendar
from services.approval.rules.limits import due_at
from services.intake.errors import AgentNotAllowed
from services.intake.rules.identity import check_character
from services.intake.rules.submission import check_submission
from shared.catalogue.loader import BUILT_IN, load_matter
from shared.catalogue.matter import Matter
from shared.catalogue.pointers import fields_of
from shared.errors import Invalid
from shared.legal_time import legal_day

FORM: dict[str, Any] = {
    "applicant": {"name": "测试甲", "id_number": "33010619900307123X", "phone": "13800138000"},
    "residence": {"address": "某路1号", "kind": "rented", "since": "2026-01-02"},
    "ground": "employment",
    "fetch_consent": True,
}
AGENT = {
    "name": "测试乙",
    "id_number": "330106198501011234",
    "phone": "13900139000",
    "relation": "child",
    "ground": "elderly",
}


@pytest.fixture(scope="module")
def matter() -> Matter:
    return load_matter(BUILT_IN / "residence_permit.apply.yaml")


def applying(matter: Matter, form: dict[str, Any]) -> dict[str, list[str]]:
    found = matter.requirements(matter.facts_of(form))
    return {one.code: [member.code for member in one.members] for one in found if one.members}


def test_the_facts_name_nobody(matter: Matter) -> None:
    facts = matter.facts_of(FORM | {"agent": AGENT})
    assert facts == {
        "residence_kind": "rented",
        "resided_since": "2026-01-02",
        "ground": "employment",
        "has_agent": True,
        "agent_ground": "elderly",
        "delivery_method": None,
    }


def test_everything_that_identifies_somebody_is_marked(matter: Matter) -> None:
    marked = {field.pointer for field in fields_of(matter.form) if field.personal}
    assert {
        f"/{who}/{what}" for who in ("applicant", "agent") for what in ("name", "id_number", "phone")
    } < marked
    assert {"/residence/address", "/delivery/address"} < marked


@pytest.mark.parametrize(
    ("kind", "proofs"),
    [
        ("owned", ["property_certificate", "purchase_contract"]),
        ("rented", ["lease_record", "lease_contract"]),
        ("employer", ["employer_housing_statement"]),
    ],
)
def test_the_proof_of_residence_follows_the_kind_of_home(
    matter: Matter, kind: str, proofs: list[str]
) -> None:
    form = FORM | {"residence": FORM["residence"] | {"kind": kind}}
    assert applying(matter, form)["residence_proof"] == proofs


@pytest.mark.parametrize(
    ("ground", "proofs"),
    [
        ("employment", ["business_licence", "social_insurance_record", "labour_contract"]),
        ("schooling", ["school_roll", "student_card"]),
        ("housing", None),
    ],
)
def test_the_proof_of_the_ground_follows_the_ground(
    matter: Matter, ground: str, proofs: list[str] | None
) -> None:
    assert applying(matter, FORM | {"ground": ground}).get("ground_proof") == proofs


def test_an_agent_shows_an_identity_card_and_a_disability_is_proved(matter: Matter) -> None:
    assert {"agent_id_card", "disability_certificate"}.isdisjoint(applying(matter, FORM))
    assert "agent_id_card" in applying(matter, FORM | {"agent": AGENT})
    assert "disability_certificate" in applying(matter, FORM | {"agent": AGENT | {"ground": "disabled"}})
    assert matter.material("agent_id_card").holder_role == "agent"


def test_whatever_can_be_missing_can_be_brought(matter: Matter) -> None:
    for kind in ("owned", "rented", "employer"):
        for ground in ("employment", "housing", "schooling"):
            form = FORM | {"residence": FORM["residence"] | {"kind": kind}, "ground": ground, "agent": AGENT}
            facts = matter.facts_of(form)
            for code in applying(matter, form):
                assert matter.uploads_for(code, facts), f"{code} could never be supplied"


def test_only_certificates_that_the_case_needs_are_looked_at(matter: Matter) -> None:
    needed = matter.certificate_types(matter.facts_of(FORM | {"ground": "housing"}))
    assert needed == {"id_card", "id_photo", "lease_record"}
    assert needed < matter.certificate_types()


def test_the_promise_keeps_the_limit_counted_in_natural_days_too(matter: Matter) -> None:
    calendar = WorkCalendar.of({})
    for day in range(365 * 3):
        start = datetime(2024, 1, 1, 4, tzinfo=UTC) + timedelta(days=day)
        due = due_at(start, matter.promised_limit, calendar)
        assert (legal_day(due.at) - legal_day(start)) <= timedelta(days=matter.legal_limit.amount)


@pytest.mark.parametrize(
    ("fact", "payload", "template"),
    [
        ("intake.case-submitted", {}, "case-submitted"),
        ("approval.correction-required", {}, "correction-required"),
        ("approval.case-accepted", {}, "case-accepted"),
        ("approval.case-decided", {"outcome": "approved"}, "case-approved"),
        ("approval.case-decided", {"outcome": "denied"}, "case-denied"),
        ("materials.certificate-issued", {}, "certificate-issued"),
        ("approval.task-claimed", {}, None),
    ],
)
def test_notices(matter: Matter, fact: str, payload: dict[str, str], template: str | None) -> None:
    notice = matter.notice_for(fact, payload)
    assert (notice.template if notice else None) == template
    # The certificate is shown to its holder.
    told = ("applicant",) if template == "certificate-issued" else ("applicant", "agent")
    assert notice is None or notice.to == told


def test_a_refusal_names_authority_court_and_time(matter: Matter) -> None:
    zh, en = matter.remedies.sentence("zh-CN"), matter.remedies.sentence("en")
    for word in ("60日", "西湖区人民政府", "6个月", "西湖区人民法院"):
        assert word in zh
    for word in ("60 days", "Government of Xihu", "6 months", "Court of Xihu"):
        assert word in en


def test_the_keywords_of_the_form_are_those_that_intake_checks(matter: Matter) -> None:
    today = date(2026, 11, 23)
    born, elder = (body + check_character(body) for body in ("33010619900307123", "33010619500307123"))
    good = FORM | {"applicant": FORM["applicant"] | {"id_number": born}}
    check_submission(matter, good, today)

    wrong = good | {"residence": FORM["residence"] | {"since": "2026-11-24"}, "applicant": FORM["applicant"]}
    wrong["applicant"] = wrong["applicant"] | {"id_number": "330106900307123"}
    assert matter.validate_form(wrong) == []
    with pytest.raises(Invalid) as refused:
        check_submission(matter, wrong, today)
    assert {error.pointer for error in refused.value.fields} == {"/applicant/id_number", "/residence/since"}

    assisted = good | {
        "agent": AGENT | {"id_number": "33010619850101123" + check_character("33010619850101123")}
    }
    with pytest.raises(AgentNotAllowed):
        check_submission(matter, assisted, today)
    check_submission(matter, assisted | {"applicant": FORM["applicant"] | {"id_number": elder}}, today)
    check_submission(matter, assisted | {"agent": assisted["agent"] | {"ground": "disabled"}}, today)


def test_the_form_takes_a_right_application(matter: Matter) -> None:
    assert matter.validate_form(FORM) == []
    full = {"agent": AGENT, "delivery": {"method": "post"}, "language": "en"}
    assert matter.validate_form(FORM | full) == []
    assert matter.consented(FORM)
    assert not matter.consented(FORM | {"fetch_consent": False})
    assert date.fromisoformat(str(matter.facts_of(FORM)["resided_since"])) == date(2026, 1, 2)
