"""On the day of decision each matched certificate is looked at again, and each look is a use."""

import pytest

from services.materials.commands import Amiss, load_checklists, look_before_approval, match_materials
from shared.bus.unit import unit_of
from tests.support.commands import ASKED, event_of, handle, new_number, person_of, rows, submitted
from tests.support.installation import HELD, Installation

ENDS = {
    "revoked": "state = 'revoked'",
    "expired": "valid_until = date '2020-01-02'",
    "no longer trusted": "trust_level = 'C'",
}


NOTHING = Amiss([], [])


def look(made: Installation, number: str) -> Amiss:
    with unit_of(made.context("materials"), "test.look") as unit:
        return look_before_approval(unit, number, "officer-1", "deciding the case")


@pytest.fixture
def number(made: Installation) -> str:
    """A case of which every material was met by a certificate."""
    found = new_number()
    handle(made, "materials", load_checklists, match_materials, event_of(submitted(person_of(made)), found))
    return found


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_what_is_not_valid_any_more_is_named(made: Installation, number: str, end: str) -> None:
    assert look(made, number) == NOTHING
    made.change(
        f"UPDATE materials.certificates SET {end} WHERE type_code IN ('lease_record', 'id_photo') "
        "AND holder = (SELECT CAST(holders->>'applicant' AS uuid) FROM materials.cases WHERE number = :n)",
        n=number,
    )
    assert look(made, number) == Amiss(["photo", "residence_proof"], [])


def test_each_look_is_on_record_with_who_and_why(made: Installation, number: str) -> None:
    look(made, number)
    uses = rows(made, "materials.use_records", case_no=number, reader="officer-1")
    assert len(uses) == len(HELD)
    assert {use.purpose for use in uses} == {"deciding the case"}


def test_what_is_missing_is_named_and_nothing_else_looked_at(made: Installation) -> None:
    found = new_number()
    event = event_of(submitted(person_of(made), consents={}), found)
    handle(made, "materials", load_checklists, match_materials, event)
    assert look(made, found) == Amiss([], ASKED)
    assert rows(made, "materials.use_records", case_no=found) == []
    assert look(made, new_number()) == NOTHING
