"""All sessions of somebody end, and nobody else's."""

from uuid import uuid4

from services.intake.identity.sessions import Why, end_sessions_of
from shared.auth.principal import PrincipalKind
from shared.bus.unit import unit_of
from tests.integration.commands.intake.test_end_session import opened, told
from tests.support.installation import Installation
from tests.support.principals import citizen, officer


def test_all_of_one_and_none_of_another(made: Installation) -> None:
    subject, person = f"officer-{uuid4().hex[:8]}", uuid4()
    mine = {opened(made, officer(subject)), opened(made, officer(subject))}
    others = {opened(made, officer("somebody-else")), opened(made, citizen(person))}
    with unit_of(made.context("intake"), "test.end") as unit:
        ended = end_sessions_of(unit, PrincipalKind.OFFICER, subject, "an administrator", Why.ORDERED)
    assert {session.id for session in ended} == mine
    assert set(told(made)) & (mine | others) == mine
