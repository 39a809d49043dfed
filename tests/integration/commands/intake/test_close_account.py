"""Somebody leaves: their sessions end, and nobody logs in by their account."""

import pytest

from services.intake.errors import NoAccount
from services.intake.identity.accounts import close_account, office_of
from shared.auth.principal import PrincipalKind
from shared.bus.unit import unit_of
from tests.integration.commands.intake.test_end_session import opened, told
from tests.integration.commands.intake.test_set_account import new_office, set_
from tests.support.installation import Installation
from tests.support.principals import officer


def test_sessions_end_and_no_new_one_begins(made: Installation) -> None:
    office = new_office()
    set_(made, office)
    session, other = opened(made, officer(office.subject)), opened(made, officer("somebody-else"))
    with unit_of(made.context("intake"), "test.close") as unit:
        ended = close_account(unit, office.kind, office.subject, "an administrator")
    assert [one.id for one in ended] == [session]
    assert set(told(made)) & {session, other} == {session}
    with unit_of(made.context("intake"), "test.read") as unit, pytest.raises(NoAccount):
        office_of(unit, office.kind, office.subject)


def test_there_must_be_one(made: Installation) -> None:
    with unit_of(made.context("intake"), "test.close") as unit, pytest.raises(NoAccount):
        close_account(unit, PrincipalKind.OFFICER, "nobody-here", "an administrator")
