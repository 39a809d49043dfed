"""Whether a certificate may be issued, its identifier, and how long it is valid."""

from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stdnum.iso7064 import mod_37_36

from services.materials.rules.issuing import (
    IssueRefused,
    Refusal,
    Standing,
    certificate_identifier,
    check_standing,
    validity,
)
from shared.catalogue.matter import Department, Matter, ResultCertificate

POLICE = "11330106002501878K"
KIND = "11100000000013338W011"


def result(months: int | None = 12) -> ResultCertificate:
    data: dict[str, Any] = {
        "certificate_type": "residence_permit",
        "directory_code": KIND,
        "names": {"zh": "居住证", "en": "Residence permit"},
        "validity": {"months": months},
    }
    return ResultCertificate.model_validate(data)


def matter(ends_with: ResultCertificate | None) -> Matter:
    names = {"zh": "公安", "en": "Police"}
    police = Department.model_validate({"names": names, "credit_code": POLICE})
    return Matter.model_construct(
        code="test.matter", department="police", departments={"police": police}, result=ends_with
    )


def checked(identifier: str) -> bool:
    """Whether the check character is right: it covers all that stands behind the root."""
    return bool(mod_37_36.is_valid("".join(identifier.removeprefix("1.2.156.3005.2.").split("."))))


def test_the_check_is_that_of_a_published_sample() -> None:
    assert checked("1.2.156.3005.2.11100000000013338W011.11430000006122244L.20230000403.001.U")


def test_parts_in_their_order() -> None:
    identifier = certificate_identifier(matter(result()), date(2026, 11, 23), 7)
    assert identifier.rsplit(".", 1)[0] == f"1.2.156.3005.2.{KIND}.{POLICE}.20261123000007.001"
    assert checked(identifier)


@given(st.integers(0, 10**9), st.dates(date(2026, 1, 1), date(2099, 1, 1)))
def test_every_identifier_passes_its_own_check(serial: int, on: date) -> None:
    identifier = certificate_identifier(matter(result()), on, serial)
    assert checked(identifier)
    assert len(identifier) <= 120
    assert certificate_identifier(matter(result()), on, serial + 1) != identifier


def test_nothing_to_issue_is_an_error() -> None:
    with pytest.raises(ValueError, match="issues nothing"):
        certificate_identifier(matter(None), date(2026, 11, 23), 1)
    with pytest.raises(ValueError, match="negative"):
        certificate_identifier(matter(result()), date(2026, 11, 23), -1)


@pytest.mark.parametrize(
    ("months", "on", "until"),
    [
        (12, date(2026, 11, 23), date(2027, 11, 23)),
        (12, date(2028, 2, 29), date(2029, 2, 28)),
        (1, date(2027, 1, 31), date(2027, 2, 28)),
        (60, date(2026, 12, 1), date(2031, 12, 1)),
        (None, date(2026, 11, 23), None),
    ],
)
def test_validity(months: int | None, on: date, until: date | None) -> None:
    assert validity(result(months), on) == (on, until)


GRANTED = Standing("test.matter", 3, "approved", "residence_permit", date(2026, 11, 20))


def of_version_3(ends_with: ResultCertificate | None) -> Matter:
    return matter(ends_with).model_copy(update={"version": 3})


def test_what_was_granted_so_may_be_issued() -> None:
    assert check_standing(of_version_3(result()), GRANTED) == GRANTED.decided_on


@pytest.mark.parametrize(
    ("standing", "refusal"),
    [
        (None, Refusal.UNKNOWN_CASE),
        (replace(GRANTED, outcome=None, result=None), Refusal.NOT_DECIDED),
        (replace(GRANTED, decided_on=None), Refusal.NOT_DECIDED),
        (replace(GRANTED, outcome="denied", result=None), Refusal.DENIED),
        (replace(GRANTED, outcome="of the future"), Refusal.DENIED),
        (replace(GRANTED, matter="another.matter"), Refusal.OTHER_RESULT),
        (replace(GRANTED, matter_version=4), Refusal.OTHER_RESULT),
        (replace(GRANTED, result="passport"), Refusal.OTHER_RESULT),
        (replace(GRANTED, result=None), Refusal.OTHER_RESULT),
    ],
)
def test_nothing_else_may(standing: Standing | None, refusal: Refusal) -> None:
    with pytest.raises(IssueRefused) as refused:
        check_standing(of_version_3(result()), standing)
    assert refused.value.refusal is refusal


def test_a_matter_without_a_result_has_nothing_to_issue() -> None:
    with pytest.raises(IssueRefused):
        check_standing(of_version_3(None), replace(GRANTED, result=None))
