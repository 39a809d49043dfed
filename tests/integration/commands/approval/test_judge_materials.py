"""A complete application is accepted by the law's clock and routed; an incomplete one is asked for once."""

from datetime import date, timedelta

import pytest

from services.approval.commands import judge_materials, load_files
from services.approval.rules.transitions import WrongState
from shared.bus.inbox import NotYet
from shared.events.approval import (
    CaseAccepted,
    CaseRouted,
    CorrectionRequired,
    MaterialsAskedAgain,
    MaterialsCompleted,
)
from shared.legal_time import legal_day
from tests.support.commands import RECEIVED, event_of, handle, matter_of, new_number, rows, said
from tests.support.installation import Installation
from tests.support.tasks import case_of, matched, opened, task_of


def judge(
    made: Installation,
    number: str,
    *gaps: str,
    days_later: int = 0,
    round_: int = 1,
    withdrawn: bool = False,
) -> None:
    fact = matched(*gaps, at=RECEIVED + timedelta(days=days_later), round_=round_, withdrawn=withdrawn)
    handle(made, "approval", load_files, judge_materials, event_of(fact, number))


def test_a_complete_application_is_accepted_and_routed(made: Installation) -> None:
    number = opened(made)
    judge(made, number)
    accepted, routed = said(made, "approval", number)
    assert isinstance(accepted, CaseAccepted)
    assert isinstance(routed, CaseRouted)
    # Monday, 23 November: five working days promised, fifteen by law, two for the first step.
    assert legal_day(accepted.promised_due_at) == date(2026, 11, 30)
    assert legal_day(accepted.legal_due_at) == date(2026, 12, 14)
    assert routed.step_due_at is not None
    assert legal_day(routed.step_due_at) == date(2026, 11, 25)
    case, task = case_of(made, number), task_of(made, number)
    assert (case.state, case.accepted_at, case.sequence) == ("under_review", RECEIVED, 2)
    assert (case.promised_due_at, case.legal_due_at) == (accepted.promised_due_at, accepted.legal_due_at)
    first = matter_of(made).steps[0]
    assert (task.step, task.department, task.state) == (first.code, first.department, "open")
    assert (task.version, task.due_at, task.officer) == (1, routed.step_due_at, None)


def test_everything_missing_is_asked_for_in_one_notice(made: Installation) -> None:
    number = opened(made)
    judge(made, number, "photo", "residence_proof")
    (fact,) = said(made, "approval", number)
    assert isinstance(fact, CorrectionRequired)
    assert fact.materials == ["photo", "residence_proof"]
    assert (case_of(made, number).state, case_of(made, number).asked) == (
        "correction_required",
        ["photo", "residence_proof"],
    )
    assert rows(made, "approval.tasks", case_no=number) == []


def test_the_clock_begins_when_the_last_material_came(made: Installation) -> None:
    number = opened(made)
    judge(made, number, "photo")
    judge(made, number, days_later=2)
    accepted = said(made, "approval", number)[1]
    assert isinstance(accepted, CaseAccepted)
    assert accepted.accepted_at == RECEIVED + timedelta(days=2)
    assert legal_day(accepted.promised_due_at) == date(2026, 12, 2)


def test_nobody_is_asked_a_second_time(made: Installation) -> None:
    number = opened(made)
    judge(made, number, "photo")
    with pytest.raises(WrongState):
        judge(made, number, "residence_proof")
    assert case_of(made, number).asked == ["photo"]


def test_what_a_withdrawn_consent_leaves_open_is_asked_for_and_the_case_stays_accepted(
    made: Installation,
) -> None:
    number = opened(made)
    judge(made, number)
    accepted = case_of(made, number)
    judge(made, number, "photo", "id_card", round_=2, withdrawn=True)
    again = said(made, "approval", number)[-1]
    assert isinstance(again, MaterialsAskedAgain)
    assert again.materials == ["photo", "id_card"]
    case = case_of(made, number)
    assert (case.state, case.asked, case.materials_round) == ("under_review", ["photo", "id_card"], 2)
    assert (case.accepted_at, case.promised_due_at) == (accepted.accepted_at, accepted.promised_due_at)
    judge(made, number, round_=3, days_later=2)
    assert isinstance(said(made, "approval", number)[-1], MaterialsCompleted)
    case = case_of(made, number)
    assert (case.asked, case.materials_round, case.accepted_at) == ([], 3, accepted.accepted_at)


def test_it_widens_what_is_asked_for_before_acceptance(made: Installation) -> None:
    number = opened(made)
    judge(made, number, "photo")
    judge(made, number, "photo", round_=2, withdrawn=True)
    assert len(said(made, "approval", number)) == 1, "that is asked for already"
    judge(made, number, "photo", "id_card", round_=3, withdrawn=True)
    assert isinstance(said(made, "approval", number)[-1], MaterialsAskedAgain)
    case = case_of(made, number)
    assert (case.state, case.asked) == ("correction_required", ["photo", "id_card"])
    judge(made, number, round_=4)
    assert (case_of(made, number).state, case_of(made, number).asked) == ("under_review", [])


def test_what_needs_no_certificate_changes_nothing(made: Installation) -> None:
    number = opened(made)
    judge(made, number)
    before = len(said(made, "approval", number))
    judge(made, number, round_=2, withdrawn=True)
    assert len(said(made, "approval", number)) == before


@pytest.mark.parametrize("state", ["approved", "denied", "issuing", "closed"])
@pytest.mark.parametrize("gaps", [(), ("photo",)])
def test_a_decided_case_stays_so(made: Installation, state: str, gaps: tuple[str, ...]) -> None:
    number = opened(made)
    judge(made, number)
    made.change("UPDATE approval.cases SET state = :s WHERE number = :n", s=state, n=number)
    before = len(said(made, "approval", number))
    judge(made, number, *gaps, round_=2, withdrawn=True)
    assert len(said(made, "approval", number)) == before
    case = case_of(made, number)
    assert (case.state, case.asked, case.materials_round) == (state, [], 1)


def test_no_other_second_look_is_taken(made: Installation) -> None:
    number = opened(made)
    judge(made, number)
    for gaps in ((), ("photo",)):
        with pytest.raises(WrongState):
            judge(made, number, *gaps, round_=2)


def test_a_day_that_the_region_does_not_work_is_not_counted(made: Installation) -> None:
    made.change(
        "INSERT INTO approval.work_calendar VALUES ('330199', date '2026-11-24', false, false, 'test')"
    )
    number = opened(made, region="330199")
    judge(made, number)
    accepted = said(made, "approval", number)[0]
    assert isinstance(accepted, CaseAccepted)
    assert legal_day(accepted.promised_due_at) == date(2026, 12, 1)


def test_a_case_that_is_not_there_is_waited_for(made: Installation) -> None:
    with pytest.raises(NotYet):
        judge(made, new_number())
