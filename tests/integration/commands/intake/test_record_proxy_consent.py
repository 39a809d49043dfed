"""Somebody agrees for a holder: kept with who, by what paper, and who has seen it."""

from uuid import UUID

import pytest

from services.intake import queries
from services.intake.commands import SeenProxy, record_proxy_consent
from services.intake.rules.consent import ProxyDocument
from shared.bus.unit import unit_of
from shared.errors import Invalid
from shared.events.intake import ConsentBasis, ConsentGiven
from tests.integration.commands.intake.test_give_consent import brought_by_agent
from tests.support.commands import row, rows, said
from tests.support.installation import Installation
from tests.support.principals import operator

SEEN = SeenProxy(ProxyDocument.POWER_OF_ATTORNEY, "委托书 2026-0412")
BY = UUID(int=77)


def record(made: Installation, number: str, proxy: UUID) -> None:
    with unit_of(made.context("intake"), "test.proxy") as unit:
        case = queries.lock_cases(unit.session, {number})[number]
        [request] = queries.lock_consent_requests(unit.session, number)
        record_proxy_consent(unit, case, request, SEEN, operator(proxy))


def test_it_is_said_once_and_kept_with_its_proof(made: Installation) -> None:
    number, applicant = brought_by_agent(made)
    for _ in range(2):
        record(made, number, BY)
    given = [fact for fact in said(made, "intake", number) if isinstance(fact, ConsentGiven)]
    assert [(fact.holder, fact.basis) for fact in given] == [(applicant, ConsentBasis.PROXY)]
    [request] = rows(made, "intake.consent_requests", case_no=number)
    assert (request.proxy, request.document, request.recorded_by) == (BY, "power_of_attorney", "operator-1")
    opened = made.context("intake").vault.open(
        request.sealed_reference,
        table="consent_requests",
        row=f"{number}/{applicant}",
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
    [request] = rows(made, "intake.consent_requests", case_no=number)
    assert request.given_at is None
