"""An account is made where there is none, and is otherwise left as it is."""

from dataclasses import replace

import pytest

from services.intake.errors import NoAccount
from services.intake.identity.accounts import close_account, open_account
from shared.bus.unit import unit_of
from tests.integration.commands.intake.test_set_account import new_office, set_
from tests.support.installation import Installation


def test_a_new_one_is_as_said_and_an_old_one_as_it_was(made: Installation) -> None:
    office = new_office()
    with unit_of(made.context("intake"), "test.open") as unit:
        assert open_account(unit, office, "somebody") == (office, 1)
    less = replace(office, departments=())
    set_(made, less)
    with unit_of(made.context("intake"), "test.open") as unit:
        assert open_account(unit, office, "somebody") == (less, 2)


def test_one_that_was_closed_stays_closed(made: Installation) -> None:
    office = new_office()
    set_(made, office)
    with unit_of(made.context("intake"), "test.close") as unit:
        close_account(unit, office.kind, office.subject, "an administrator")
    with unit_of(made.context("intake"), "test.open") as unit, pytest.raises(NoAccount):
        open_account(unit, office, "somebody")
