"""A consent met a part of what is missing: nobody is asked again, and a decision rests on that look."""

import pytest

from services.approval.commands import judge_materials, load_files, note_look
from shared.bus.inbox import NotYet
from shared.events.materials import MaterialsPartlyMatched
from tests.support.commands import RECEIVED, event_of, handle, new_number, said
from tests.support.installation import Installation
from tests.support.tasks import case_of, matched, opened

PART = MaterialsPartlyMatched(round=2, outcomes=[], gaps=["residence_proof"], matched_at=RECEIVED)


def test_nobody_is_asked_again_and_a_decision_rests_on_it(made: Installation) -> None:
    number = opened(made)
    asked = matched("photo", "residence_proof")
    handle(made, "approval", load_files, judge_materials, event_of(asked, number))
    handle(made, "approval", load_files, note_look, event_of(PART, number))
    assert len(said(made, "approval", number)) == 1
    case = case_of(made, number)
    assert (case.state, case.asked) == ("correction_required", ["photo", "residence_proof"])
    assert case.materials_round == 2
    handle(made, "approval", load_files, judge_materials, event_of(matched(round_=3), number))
    assert case_of(made, number).state == "under_review"


def test_it_may_be_heard_before_its_case(made: Installation) -> None:
    with pytest.raises(NotYet):
        handle(made, "approval", load_files, note_look, event_of(PART, new_number()))
