"""Certificates are read with consent only, and every reading is on record."""

from tests.support.hall import Hall, application
from tests.support.installation import HELD


def test_no_consent_no_reading(fresh_hall: Hall) -> None:
    who, headers = fresh_hall.citizen()
    number = fresh_hall.apply(headers, application(who, fetch_consent=False)).json()["number"]
    fresh_hall.installation.pump()
    assert fresh_hall.installation.value("SELECT count(*) FROM materials.use_records") == 0
    assert {m["outcome"] for m in fresh_hall.case(headers, number)["materials"]} == {"needs_consent"}


def test_every_certificate_read_leaves_a_grant_and_a_use(fresh_hall: Hall) -> None:
    who, headers = fresh_hall.citizen()
    number = fresh_hall.apply(headers, application(who)).json()["number"]
    fresh_hall.installation.pump()
    of_case = {"n": number}
    uses = fresh_hall.installation.rows(
        'SELECT "grant" FROM materials.use_records WHERE case_no = :n', **of_case
    )
    grants = fresh_hall.installation.rows("SELECT id FROM materials.use_grants WHERE case_no = :n", **of_case)
    assert len(uses) == len(HELD)
    assert {use.grant for use in uses} == {grant.id for grant in grants}
