"""Only what a correction notice asked for is taken, once, and the other services hear of it."""

from collections.abc import Mapping
from uuid import UUID, uuid4

import pytest

from services.intake import hearing, queries
from services.intake.commands import supply_materials
from services.intake.errors import NotAskedFor, NothingAsked
from shared.bus.unit import unit_of
from shared.events.approval import CorrectionRequired
from shared.events.intake import MaterialsSupplied
from tests.support.commands import RECEIVED, event_of, handle, row, rows, said
from tests.support.installation import GAP, Installation


@pytest.fixture
def asked(made: Installation) -> str:
    """A case of which a photo and the proof of residence are asked."""
    number = made.submit(made.citizen(GAP)).number
    fact = CorrectionRequired(materials=["photo", "residence_proof"], required_at=RECEIVED)
    handle(made, "intake", hearing.load_views, hearing.note_fact, event_of(fact, number))
    return number


def supply(made: Installation, number: str, uploads: Mapping[str, UUID]) -> None:
    with unit_of(made.context("intake"), "test.supply") as unit:
        supply_materials(unit, queries.lock_cases(unit.session, {number})[number], uploads)


def test_what_comes_is_said_and_stands_in_the_timeline(made: Installation, asked: str) -> None:
    uploads = {"lease_contract": uuid4(), "photo": uuid4()}
    supply(made, asked, uploads)
    fact = said(made, "intake", asked)[-1]
    assert isinstance(fact, MaterialsSupplied)
    assert fact.uploads == uploads
    assert row(made, "intake.cases", number=asked).supplied == ["lease_contract", "photo"]
    (entry,) = rows(made, "intake.timeline", case_no=asked, fact="materials-supplied")
    assert entry.details == {"materials": ["lease_contract", "photo"]}
    # The state is approval's to change, when it has heard that nothing is missing.
    assert row(made, "intake.cases", number=asked).state == "correction_required"


def test_one_after_the_other_until_all_has_come(made: Installation, asked: str) -> None:
    supply(made, asked, {"photo": uuid4()})
    supply(made, asked, {"lease_contract": uuid4()})
    with pytest.raises(NothingAsked):
        supply(made, asked, {"photo": uuid4()})
    assert [type(fact).__name__ for fact in said(made, "intake", asked)] == [
        "CaseSubmitted",
        "MaterialsSupplied",
        "MaterialsSupplied",
    ]


def test_what_was_not_asked_for_is_refused_with_what_was(made: Installation, asked: str) -> None:
    with pytest.raises(NotAskedFor) as refused:
        supply(made, asked, {"photo": uuid4(), "labour_contract": uuid4()})
    assert [field.pointer for field in refused.value.fields] == ["/uploads/labour_contract"]
    assert len(said(made, "intake", asked)) == 1
    assert row(made, "intake.cases", number=asked).supplied == []


def test_nothing_is_taken_while_nothing_is_asked(made: Installation) -> None:
    number = made.submit(made.citizen()).number
    with pytest.raises(NothingAsked):
        supply(made, number, {"photo": uuid4()})
