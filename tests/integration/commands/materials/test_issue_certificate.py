"""An approved case ends with a certificate of its own; a refused one with none."""

from uuid import UUID

import pytest

from services.materials.commands import issue_certificate, load_checklists, match_materials
from services.materials.rules.issuing import validity
from shared.bus.inbox import NotYet
from shared.events.approval import CaseDecided, Decision
from shared.events.materials import CertificateIssued
from shared.legal_time import legal_day
from tests.support.commands import (
    RECEIVED,
    event_of,
    handle,
    matter_of,
    new_number,
    person_of,
    row,
    rows,
    said,
    submitted,
)
from tests.support.installation import Installation


def opened(made: Installation, applicant: UUID) -> str:
    number = new_number()
    handle(made, "materials", load_checklists, match_materials, event_of(submitted(applicant), number))
    return number


def decide(made: Installation, outcome: Decision, *numbers: str) -> None:
    fact = CaseDecided(outcome=outcome, decided_at=RECEIVED)
    events = [event_of(fact, number) for number in numbers]
    handle(made, "materials", load_checklists, issue_certificate, *events)


def test_the_certificate_is_the_applicants_and_said(made: Installation) -> None:
    applicant = person_of(made)
    number = opened(made, applicant)
    decide(made, Decision.APPROVED, number)
    certificate = row(made, "materials.certificates", case_no=number)
    fact = said(made, "materials", number)[-1]
    result = matter_of(made).result
    assert isinstance(fact, CertificateIssued)
    assert result is not None
    assert (fact.certificate, fact.certificate_type) == (certificate.id, result.certificate_type)
    assert (certificate.holder, certificate.type_code) == (applicant, result.certificate_type)
    assert (certificate.state, certificate.trust_level) == ("normal", "A")
    assert (certificate.valid_from, certificate.valid_until) == validity(result, legal_day(fact.issued_at))


def test_no_identifier_is_given_twice(made: Installation) -> None:
    applicant = person_of(made)
    numbers = [opened(made, applicant) for _ in range(3)]
    decide(made, Decision.APPROVED, *numbers)
    found = {row(made, "materials.certificates", case_no=number).identifier for number in numbers}
    assert len(found) == 3


def test_a_refusal_issues_nothing(made: Installation) -> None:
    number = opened(made, person_of(made))
    decide(made, Decision.DENIED, number)
    assert rows(made, "materials.certificates", case_no=number) == []
    assert len(said(made, "materials", number)) == 1


def test_a_case_that_is_not_there_is_waited_for(made: Installation) -> None:
    number = new_number()
    with pytest.raises(NotYet):
        decide(made, Decision.APPROVED, number)
    assert rows(made, "materials.certificates", case_no=number) == []
