"""A holder agrees that their certificates are read for a case that somebody else brought."""

from collections.abc import Callable
from uuid import UUID

import pytest

from services.intake import queries
from services.intake.commands import Submission, give_consent, submit_case
from services.intake.errors import ConsentNotNeeded
from services.intake.identity.persons import register_person
from services.intake.models import Case, Consent
from services.intake.rules.submission import NamedPerson
from shared.bus.unit import Unit, unit_of
from shared.events.intake import CaseSubmitted, ConsentBasis, ConsentGiven
from tests.support.agents import GRANNY, acted_for
from tests.support.commands import matter_of, row, rows, said
from tests.support.installation import Citizen, Installation, id_number
from tests.support.principals import VERIFIED, citizen

AGENT = Citizen("代办", id_number(910_777), "13900910777")


def brought_by_agent(made: Installation) -> tuple[str, UUID]:
    """A case of somebody who did not apply themselves; its number and applicant."""
    with unit_of(made.context("intake"), "test.submit") as unit:
        agent = register_person(unit, NamedPerson(AGENT.name, AGENT.id_number, AGENT.phone), VERIFIED)
        form = acted_for(GRANNY, AGENT, "elderly")["form"]
        sent = Submission(matter_of(made), form, {}, "web", "test", "zh-CN", citizen(agent), another=True)
        number = submit_case(unit, sent).number
    return number, row(made, "intake.cases", number=number).applicant


Act = Callable[[Unit, Case, Consent], object]


def act(made: Installation, number: str, holder: UUID, command: Act) -> None:
    """Lock, command, as the doors do."""
    with unit_of(made.context("intake"), "test.consent") as unit:
        case = queries.lock_cases(unit.session, {number})[number]
        consent = queries.lock_consent(unit.session, number, holder)
        assert consent is not None
        command(unit, case, consent)


def give(made: Installation, number: str, holder: UUID) -> None:
    act(made, number, holder, lambda unit, case, consent: give_consent(unit, case, consent, citizen(holder)))


def test_whoever_applies_agrees_for_nobody_else(made: Installation) -> None:
    number, applicant = brought_by_agent(made)
    (fact,) = said(made, "intake", number)
    assert isinstance(fact, CaseSubmitted)
    assert fact.consents == {"agent": ConsentBasis.OWN}
    asked = row(made, "intake.consents", case_no=number, holder=applicant)
    assert (asked.roles, asked.given_at) == (["applicant"], None)
    (given,) = [one for one in rows(made, "intake.consents", case_no=number) if one.holder != applicant]
    assert (given.roles, given.given_at, given.basis) == (["agent"], fact.received_at, "own")
    assert given.recorded_by == str(given.holder)


def test_consent_is_said_once_and_kept_with_its_proof(made: Installation) -> None:
    number, applicant = brought_by_agent(made)
    for _ in range(2):
        give(made, number, applicant)
    facts = [fact for fact in said(made, "intake", number) if isinstance(fact, ConsentGiven)]
    assert [(fact.holder, fact.roles, fact.basis) for fact in facts] == [(applicant, ["applicant"], "own")]
    request = row(made, "intake.consents", case_no=number, holder=applicant)
    assert (request.given_at, request.recorded_by) == (facts[0].given_at, str(applicant))
    assert row(made, "intake.cases", number=number).consents == {"agent": "own", "applicant": "own"}


@pytest.mark.parametrize("state", ["accepted", "under_review", "approved", "denied"])
def test_a_case_that_goes_on_without_needs_none(made: Installation, state: str) -> None:
    number, applicant = brought_by_agent(made)
    made.change("UPDATE intake.cases SET state = :s WHERE number = :n", s=state, n=number)
    with pytest.raises(ConsentNotNeeded):
        give(made, number, applicant)
