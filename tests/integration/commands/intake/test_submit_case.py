"""An application is taken: number and query code, the case, its first line of the timeline, and one fact."""

from typing import Any
from uuid import uuid4

import pytest

from services.intake import queries
from services.intake.commands import Receipt, Submission, submit_case
from services.intake.errors import NotYourApplication
from services.intake.rules.query_code import query_digest
from shared.bus.unit import unit_of
from shared.errors import Invalid
from shared.events.intake import CaseSubmitted
from tests.support.commands import matter_of, row, rows, said
from tests.support.hall import application
from tests.support.installation import Citizen, Installation, id_number
from tests.support.principals import PROGRAM, citizen

WHO = Citizen("测试", id_number(910_001), "13900910001")


def submit(made: Installation, form: dict[str, Any] | None = None, **changed: Any) -> Receipt:
    fields: dict[str, Any] = {
        "matter": matter_of(made),
        "form": application(WHO)["form"] if form is None else form,
        "uploads": {},
        "channel": "web",
        "client": "test",
        "locale": "zh-CN",
        "submitter": PROGRAM,
        "another": True,
    }
    with unit_of(made.context("intake"), "test.submit") as unit:
        return submit_case(unit, Submission(**(fields | changed)))


def count(made: Installation) -> int:
    found: int = made.value("SELECT count(*) FROM intake.cases")
    return found


def test_the_case_its_timeline_and_its_fact_say_the_same(made: Installation) -> None:
    upload = uuid4()
    receipt = submit(made, uploads={"lease_contract": upload}, locale="en", channel="counter")
    case = row(made, "intake.cases", number=receipt.number)
    (fact,) = said(made, "intake", receipt.number)
    assert isinstance(fact, CaseSubmitted)
    assert (case.state, case.sequence, case.agent, case.channel) == ("submitted", 1, None, "counter")
    assert (fact.applicant, fact.region, fact.facts) == (case.applicant, case.region, case.facts)
    assert fact.holders == {"applicant": case.applicant}
    assert (fact.consents, fact.uploads, fact.locale) == ({}, {"lease_contract": upload}, "en")
    assert fact.received_at == case.received_at
    (entry,) = rows(made, "intake.timeline", case_no=receipt.number)
    assert (entry.service, entry.fact, entry.details) == ("intake", "case-submitted", {"channel": "counter"})


def test_the_form_is_sealed_and_the_query_code_only_its_digest(made: Installation) -> None:
    receipt = submit(made)
    case = row(made, "intake.cases", number=receipt.number)
    for text in (WHO.name, WHO.id_number, WHO.phone, "文三路", receipt.query_code):
        assert text.encode() not in bytes(case.sealed_form) + bytes(case.query_digest)
    assert query_digest(receipt.number, receipt.query_code) == bytes(case.query_digest)


def test_no_number_is_given_twice(made: Installation) -> None:
    assert len({submit(made).number for _ in range(5)}) == 5


@pytest.mark.parametrize(
    ("changed", "pointers"),
    [
        ({"form": {}}, {"/applicant", "/residence", "/ground", "/fetch_consent"}),
        ({"uploads": {"no_such": uuid4()}}, {"/uploads/no_such"}),
        ({"channel": "carrier-pigeon"}, {"/channel"}),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_kept(
    made: Installation, changed: dict[str, Any], pointers: set[str]
) -> None:
    before = count(made)
    with pytest.raises(Invalid) as refused:
        submit(made, **changed)
    assert {field.pointer for field in refused.value.fields} == pointers
    assert count(made) == before


def test_nobody_applies_for_somebody_else_and_nobody_becomes_known_by_that(made: Installation) -> None:
    stranger = Citizen("陌生", id_number(910_002), "13900910002")
    lookups = made.context("intake").vault.lookups(stranger.id_number, kind="id-number")
    with pytest.raises(NotYourApplication):
        submit(made, application(stranger)["form"], submitter=citizen(uuid4()))
    with unit_of(made.context("intake"), "test.read") as unit:
        assert queries.person_by_lookup(unit.session, lookups) is None


@pytest.mark.parametrize(
    ("form", "header", "told"), [("en", "zh-CN", "en"), ("zh-CN", "en", "zh-CN"), (None, "en", "en")]
)
def test_notices_come_in_the_language_that_the_form_says(
    made: Installation, form: str | None, header: str, told: str
) -> None:
    said_in_form = {} if form is None else {"language": form}
    receipt = submit(made, form=application(WHO, **said_in_form)["form"], locale=header)
    (fact,) = said(made, "intake", receipt.number)
    assert isinstance(fact, CaseSubmitted)
    assert fact.locale == told
