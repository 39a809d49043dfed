"""A case that approval granted ends with a certificate of its own, and no other one does."""

from dataclasses import replace
from datetime import date
from uuid import UUID

import pytest

from services.materials.commands import issue_certificate, load_checklists, load_orders, match_materials
from services.materials.rules.issuing import IssueRefused, Standing, validity
from shared.bus.unit import unit_of
from shared.events.materials import CertificateIssued
from shared.legal_time import legal_day
from tests.support.commands import (
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
from tests.support.installation import MATTER, Installation

DECIDED_ON = date(2026, 11, 20)
GRANTED = Standing(MATTER, 1, "approved", "residence_permit", DECIDED_ON)


def opened(made: Installation, applicant: UUID) -> str:
    number = new_number()
    handle(made, "materials", load_checklists, match_materials, event_of(submitted(applicant), number))
    return number


def issue(made: Installation, standings: dict[str, Standing], *numbers: str) -> None:
    with unit_of(made.context("materials"), "test.issue") as unit:
        loaded = load_orders(unit, numbers, standings)
        for number in numbers:
            issue_certificate(unit, number, loaded)


def test_the_certificate_is_the_applicants_and_said(made: Installation) -> None:
    applicant = person_of(made)
    number = opened(made, applicant)
    issue(made, {number: GRANTED}, number)
    certificate = row(made, "materials.certificates", case_no=number)
    fact = said(made, "materials", number)[-1]
    result = matter_of(made).result
    assert isinstance(fact, CertificateIssued)
    assert result is not None
    assert (fact.certificate, fact.certificate_type) == (certificate.id, result.certificate_type)
    assert (certificate.holder, certificate.type_code) == (applicant, result.certificate_type)
    assert (certificate.state, certificate.trust_level) == ("normal", "A")
    assert (certificate.valid_from, certificate.valid_until) == validity(result, DECIDED_ON)
    assert legal_day(fact.issued_at) > DECIDED_ON
    assert f".{DECIDED_ON:%Y%m%d}" in certificate.identifier


def test_no_identifier_is_given_twice(made: Installation) -> None:
    applicant = person_of(made)
    numbers = [opened(made, applicant) for _ in range(3)]
    issue(made, dict.fromkeys(numbers, GRANTED), *numbers)
    found = {row(made, "materials.certificates", case_no=number).identifier for number in numbers}
    assert len(found) == 3


def test_a_case_that_has_its_certificate_gets_no_other_one(made: Installation) -> None:
    number = opened(made, person_of(made))
    for _ in range(2):
        issue(made, {number: GRANTED}, number)
    assert len(rows(made, "materials.certificates", case_no=number)) == 1
    assert sum(isinstance(fact, CertificateIssued) for fact in said(made, "materials", number)) == 1


def test_what_approval_does_not_stand_by_is_not_issued(made: Installation) -> None:
    number = opened(made, person_of(made))
    for standing in (
        {},
        {number: replace(GRANTED, outcome=None, result=None)},
        {number: replace(GRANTED, outcome="denied", result=None)},
        {number: replace(GRANTED, matter_version=2)},
    ):
        with pytest.raises(IssueRefused):
            issue(made, standing, number)
    assert rows(made, "materials.certificates", case_no=number) == []
    assert len(said(made, "materials", number)) == 1
