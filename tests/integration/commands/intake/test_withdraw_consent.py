"""A holder's consent is taken back: said once, kept with who said so, and of no effect on what is decided."""

from uuid import UUID

import pytest

from services.intake.commands import renew_consent, withdraw_consent
from services.intake.errors import ConsentNotGiven, ConsentOver, ConsentWithdrawnBefore
from shared.events.intake import ConsentGiven, ConsentWithdrawn, WithdrawnBy
from tests.integration.commands.intake.test_give_consent import act, brought_by_agent, give
from tests.support.commands import row, rows, said
from tests.support.installation import Installation
from tests.support.principals import citizen, operator


def withdraw(made: Installation, number: str, holder: UUID, *, counter_for: UUID | None = None) -> None:
    sender = citizen(holder) if counter_for is None else operator(counter_for)
    act(made, number, holder, lambda unit, case, consent: withdraw_consent(unit, case, consent, sender))


def withdrawals(made: Installation, number: str) -> list[ConsentWithdrawn]:
    return [fact for fact in said(made, "intake", number) if isinstance(fact, ConsentWithdrawn)]


def test_it_is_said_once_and_kept_with_who_said_so(made: Installation) -> None:
    number, applicant = brought_by_agent(made)
    give(made, number, applicant)
    for _ in range(2):
        withdraw(made, number, applicant)
    (fact,) = withdrawals(made, number)
    assert (fact.holder, fact.roles, fact.by) == (applicant, ["applicant"], WithdrawnBy.HOLDER)
    kept = row(made, "intake.consents", case_no=number, holder=applicant)
    assert (kept.withdrawn_at, kept.withdrawn_for, kept.withdrawn_by) == (
        fact.withdrawn_at,
        applicant,
        str(applicant),
    )
    assert kept.given_at is not None, "what was said before stays on record"
    case = row(made, "intake.cases", number=number)
    assert case.consents == {"agent": "own"}
    assert str(applicant) in case.acted


def test_a_consent_that_came_with_the_application_is_taken_back_too(made: Installation) -> None:
    number, _ = brought_by_agent(made)
    agent = row(made, "intake.cases", number=number).agent
    withdraw(made, number, agent)
    assert [fact.roles for fact in withdrawals(made, number)] == [["agent"]]
    assert row(made, "intake.cases", number=number).consents == {}


def test_what_a_counter_notes_is_not_the_holders_act(made: Installation) -> None:
    number, applicant = brought_by_agent(made)
    give(made, number, applicant)
    made.change("UPDATE intake.cases SET acted = '[]' WHERE number = :n", n=number)
    withdraw(made, number, applicant, counter_for=applicant)
    assert [fact.by for fact in withdrawals(made, number)] == [WithdrawnBy.COUNTER]
    assert row(made, "intake.consents", case_no=number, holder=applicant).withdrawn_by == "operator-1"
    assert row(made, "intake.cases", number=number).acted == []


def test_what_was_never_given_is_not_taken_back(made: Installation) -> None:
    number, applicant = brought_by_agent(made)
    with pytest.raises(ConsentNotGiven):
        withdraw(made, number, applicant)
    assert withdrawals(made, number) == []


@pytest.mark.parametrize("ended", ["decided_at", "closed_at"])
def test_nothing_is_left_to_take_back_once_the_case_is_decided(made: Installation, ended: str) -> None:
    number, applicant = brought_by_agent(made)
    give(made, number, applicant)
    made.change(f"UPDATE intake.cases SET {ended} = now() WHERE number = :n", n=number)
    with pytest.raises(ConsentOver):
        withdraw(made, number, applicant)
    assert withdrawals(made, number) == []


def test_a_repeated_request_does_not_bring_it_back(made: Installation) -> None:
    number, applicant = brought_by_agent(made)
    give(made, number, applicant)
    withdraw(made, number, applicant)
    with pytest.raises(ConsentWithdrawnBefore):
        give(made, number, applicant)
    assert len(rows(made, "intake.consents", case_no=number, holder=applicant)) == 1


@pytest.mark.parametrize("state", ["correction_required", "under_review"])
def test_then_agreeing_again_is_another_consent(made: Installation, state: str) -> None:
    number, applicant = brought_by_agent(made)
    give(made, number, applicant)
    withdraw(made, number, applicant)
    made.change("UPDATE intake.cases SET state = :s WHERE number = :n", s=state, n=number)
    renew(made, number, applicant)
    withdraw(made, number, applicant)
    given = [fact for fact in said(made, "intake", number) if isinstance(fact, ConsentGiven)]
    taken = withdrawals(made, number)
    kept = rows(made, "intake.consents", case_no=number, holder=applicant)
    assert [(one.nth, one.given_at, one.withdrawn_at) for one in kept] == [
        (n, gave.given_at, took.withdrawn_at)
        for n, (gave, took) in enumerate(zip(given, taken, strict=True), start=1)
    ]
    assert row(made, "intake.cases", number=number).consents == {"agent": "own"}


def renew(made: Installation, number: str, holder: UUID) -> None:
    act(
        made,
        number,
        holder,
        lambda unit, case, consent: renew_consent(unit, case, consent, citizen(holder)),
    )
