"""Somebody agrees for a holder: kept with who, by what paper, and who has seen it."""

from uuid import UUID

import pytest

from services.intake.commands import SeenProxy, record_proxy_consent
from services.intake.errors import ConsentWithdrawnBefore
from services.intake.rules.consent import ProxyDocument
from shared.errors import Invalid
from shared.events.intake import ConsentBasis, ConsentGiven
from shared.privacy.keys import VaultError
from tests.integration.commands.intake.test_give_consent import act, brought_by_agent
from tests.integration.commands.intake.test_withdraw_consent import withdraw
from tests.support.commands import row, rows, said
from tests.support.installation import Installation
from tests.support.principals import operator

SEEN = SeenProxy(ProxyDocument.POWER_OF_ATTORNEY, "委托书 2026-0412")
BY = UUID(int=77)


def record(made: Installation, number: str, proxy: UUID) -> None:
    holder = row(made, "intake.cases", number=number).applicant
    act(
        made,
        number,
        holder,
        lambda unit, case, consent: record_proxy_consent(unit, case, consent, SEEN, operator(proxy)),
    )


def test_it_is_said_once_and_kept_with_its_proof(made: Installation) -> None:
    number, applicant = brought_by_agent(made)
    for _ in range(2):
        record(made, number, BY)
    given = [fact for fact in said(made, "intake", number) if isinstance(fact, ConsentGiven)]
    assert [(fact.holder, fact.basis) for fact in given] == [(applicant, ConsentBasis.PROXY)]
    request = row(made, "intake.consents", case_no=number, holder=applicant)
    assert (request.proxy, request.document, request.recorded_by) == (BY, "power_of_attorney", "operator-1")
    opened = made.context("intake").vault.open(
        request.sealed_reference,
        table="consents",
        row=f"{number}/{applicant}/1",
        column="sealed_reference",
    )
    assert opened == SEEN.reference


def test_the_holder_has_done_nothing_by_it(made: Installation) -> None:
    number, applicant = brought_by_agent(made)
    record(made, number, BY)
    assert str(applicant) not in row(made, "intake.cases", number=number).acted


def test_nobody_is_their_own_proxy(made: Installation) -> None:
    number, applicant = brought_by_agent(made)
    with pytest.raises(Invalid):
        record(made, number, applicant)
    request = row(made, "intake.consents", case_no=number, holder=applicant)
    assert request.given_at is None


def test_nobody_agrees_over_the_holders_own_word(made: Installation) -> None:
    number, applicant = brought_by_agent(made)
    record(made, number, BY)
    withdraw(made, number, applicant)
    with pytest.raises(ConsentWithdrawnBefore):
        record(made, number, BY)
    assert len(rows(made, "intake.consents", case_no=number, holder=applicant)) == 1


@pytest.mark.parametrize("at_the_counter", [False, True])
def test_nor_when_the_holder_says_no_after_who_had_agreed(made: Installation, at_the_counter: bool) -> None:
    number, applicant = brought_by_agent(made)
    record(made, number, BY)
    withdraw(made, number, applicant, counter_for=BY)
    withdraw(made, number, applicant, counter_for=applicant if at_the_counter else None)
    with pytest.raises(ConsentWithdrawnBefore):
        record(made, number, BY)


def test_who_took_it_back_for_the_holder_agrees_for_them_again(made: Installation) -> None:
    number, applicant = brought_by_agent(made)
    record(made, number, BY)
    withdraw(made, number, applicant, counter_for=BY)
    record(made, number, BY)
    first, second = rows(made, "intake.consents", case_no=number, holder=applicant)
    assert (first.withdrawn_for, first.withdrawn_by) == (BY, "operator-1")
    assert (second.nth, second.proxy, second.basis, second.withdrawn_at) == (2, BY, "proxy", None)
    with pytest.raises(VaultError):
        opened_at(made, second.sealed_reference, f"{number}/{applicant}/1")
    assert opened_at(made, second.sealed_reference, f"{number}/{applicant}/2") == SEEN.reference


def opened_at(made: Installation, sealed: bytes, place: str) -> str:
    vault = made.context("intake").vault
    return vault.open(sealed, table="consents", row=place, column="sealed_reference")
