"""Agreeing again after a consent was taken back; nothing else is renewed."""

import pytest

from services.intake.errors import ConsentNotGiven, ConsentOver
from shared.events.intake import ConsentGiven
from tests.integration.commands.intake.test_give_consent import brought_by_agent, give
from tests.integration.commands.intake.test_withdraw_consent import renew, withdraw
from tests.support.commands import row, rows, said
from tests.support.installation import Installation


def consents_given(made: Installation, number: str) -> int:
    return len([fact for fact in said(made, "intake", number) if isinstance(fact, ConsentGiven)])


def test_it_is_said_once_and_counts(made: Installation) -> None:
    number, applicant = brought_by_agent(made)
    give(made, number, applicant)
    withdraw(made, number, applicant)
    for _ in range(2):
        renew(made, number, applicant)
    assert consents_given(made, number) == 2
    assert row(made, "intake.cases", number=number).consents == {"agent": "own", "applicant": "own"}
    first, second = rows(made, "intake.consents", case_no=number, holder=applicant)
    assert (first.nth, first.withdrawn_at is None) == (1, False)
    assert (second.nth, second.basis, second.withdrawn_at) == (2, "own", None)


def test_what_stands_is_not_renewed(made: Installation) -> None:
    number, applicant = brought_by_agent(made)
    give(made, number, applicant)
    renew(made, number, applicant)
    assert consents_given(made, number) == 1


def test_what_was_never_given_is_not_renewed(made: Installation) -> None:
    number, applicant = brought_by_agent(made)
    with pytest.raises(ConsentNotGiven):
        renew(made, number, applicant)


def test_a_decided_case_needs_none(made: Installation) -> None:
    number, applicant = brought_by_agent(made)
    give(made, number, applicant)
    withdraw(made, number, applicant)
    made.change("UPDATE intake.cases SET decided_at = now() WHERE number = :n", n=number)
    with pytest.raises(ConsentOver):
        renew(made, number, applicant)
    assert consents_given(made, number) == 1
