"""What the citizen supplied is looked at: until all has come nothing is said, and then once."""

from datetime import timedelta
from uuid import uuid4

import pytest

from services.materials.commands import load_checklists, match_again, match_materials
from shared.bus.inbox import NotYet
from shared.events.intake import MaterialsSupplied
from shared.events.materials import MaterialsMatched
from tests.support.commands import (
    RECEIVED,
    event_of,
    handle,
    new_number,
    person_of,
    row,
    rows,
    said,
    submitted,
)
from tests.support.installation import Installation

LATER = RECEIVED + timedelta(days=3)


@pytest.fixture
def number(made: Installation) -> str:
    """A case of which the photo and the proof of residence are missing."""
    found = new_number()
    applicant = person_of(made, ("id_card", "social_insurance_record"))
    handle(made, "materials", load_checklists, match_materials, event_of(submitted(applicant), found))
    return found


def supply(made: Installation, number: str, *materials: str, sequence: int = 2) -> None:
    fact = MaterialsSupplied(uploads={code: uuid4() for code in materials}, supplied_at=LATER)
    handle(made, "materials", load_checklists, match_again, event_of(fact, number, sequence))


def test_all_that_was_missing_completes_the_case(made: Installation, number: str) -> None:
    supply(made, number, "photo", "lease_contract")
    first, second = said(made, "materials", number)
    assert isinstance(first, MaterialsMatched)
    assert isinstance(second, MaterialsMatched)
    assert (first.round, first.gaps) == (1, ["photo", "residence_proof"])
    assert (second.round, second.gaps, second.last_received_at) == (2, [], LATER)
    sources = {o.material: o.source for o in second.outcomes}
    assert sources == {
        "id_card": "certificate",
        "photo": "upload",
        "residence_proof": "upload",
        "ground_proof": "certificate",
    }
    assert row(made, "materials.cases", number=number).gaps == []


def test_half_of_it_is_kept_and_nobody_is_asked_again(made: Installation, number: str) -> None:
    supply(made, number, "photo")
    assert len(said(made, "materials", number)) == 1
    assert row(made, "materials.cases", number=number).gaps == ["residence_proof"]
    supply(made, number, "lease_contract", sequence=3)
    assert [fact.gaps for fact in said(made, "materials", number) if isinstance(fact, MaterialsMatched)] == [
        ["photo", "residence_proof"],
        [],
    ]


def test_what_was_met_stays_met_when_its_certificate_has_ended(made: Installation, number: str) -> None:
    made.change(
        "UPDATE materials.certificates SET state = 'revoked' WHERE holder = "
        "(SELECT CAST(holders->>'applicant' AS uuid) FROM materials.cases WHERE number = :n)",
        n=number,
    )
    supply(made, number, "photo", "lease_contract")
    fact = said(made, "materials", number)[-1]
    assert isinstance(fact, MaterialsMatched)
    assert fact.gaps == []


def test_what_comes_after_all_was_there_replaces_nothing(made: Installation, number: str) -> None:
    supply(made, number, "photo", "lease_contract")
    before = row(made, "materials.cases", number=number)
    supply(made, number, "photo", sequence=3)
    assert row(made, "materials.cases", number=number) == before
    assert len(said(made, "materials", number)) == 2


def test_a_case_that_is_not_there_is_waited_for(made: Installation) -> None:
    unknown = new_number()
    with pytest.raises(NotYet):
        supply(made, unknown, "photo")
    assert rows(made, "materials.cases", number=unknown) == []
