"""What somebody may do by office, and its changes."""

from dataclasses import replace
from uuid import uuid4

import pytest

from services.intake.errors import AccountWrong
from services.intake.identity.accounts import Office, close_account, office_of, set_account
from shared.auth.principal import PrincipalKind
from shared.bus.unit import unit_of
from tests.support.commands import row
from tests.support.installation import Installation


def new_office() -> Office:
    return Office(
        PrincipalKind.OFFICER,
        f"officer-{uuid4().hex[:8]}",
        person_ref=uuid4(),
        departments=("xihu-police",),
        supervises=("xihu-police",),
    )


def set_(made: Installation, office: Office, by: str = "an administrator") -> int:
    with unit_of(made.context("intake"), "test.account") as unit:
        return set_account(unit, office, by)


def test_each_change_has_a_version_and_says_who_made_it(made: Installation) -> None:
    office = new_office()
    assert set_(made, office) == 1
    assert set_(made, replace(office, departments=()), "another") == 2
    account = row(made, "intake.accounts", subject=office.subject)
    assert (account.departments, account.supervises) == ([], ["xihu-police"])
    assert (account.version, account.changed_by, account.active) == (2, "another", True)
    with unit_of(made.context("intake"), "test.read") as unit:
        assert office_of(unit, office.kind, office.subject) == (replace(office, departments=()), 2)


def test_what_changes_nothing_is_no_change(made: Installation) -> None:
    office = new_office()
    set_(made, office)
    before = row(made, "intake.accounts", subject=office.subject)
    assert set_(made, office, "another") == 1
    assert row(made, "intake.accounts", subject=office.subject) == before


def test_one_that_was_closed_is_open_again(made: Installation) -> None:
    office = new_office()
    set_(made, office)
    with unit_of(made.context("intake"), "test.close") as unit:
        close_account(unit, office.kind, office.subject, "an administrator")
    assert set_(made, office) == 3
    with unit_of(made.context("intake"), "test.read") as unit:
        assert office_of(unit, office.kind, office.subject) == (office, 3)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (PrincipalKind.CITIZEN, {"person_ref": uuid4()}),
        (PrincipalKind.SERVICE, {}),
        (PrincipalKind.CLERK, {}),
        (PrincipalKind.CLERK, {"organisation": "91330106MA27XXXX06"}),
        (PrincipalKind.CLERK, {"organisation": "91330106MA27XXXX0A", "person_ref": uuid4()}),
        (PrincipalKind.CLIENT, {"departments": ("xihu-police",)}),
        (PrincipalKind.OFFICER, {"subject": "with a blank"}),
        (PrincipalKind.OFFICER, {"subject": "with|a|bar"}),
        (PrincipalKind.OFFICER, {"subject": ""}),
        (PrincipalKind.OFFICER, {"subject": "张三"}),
    ],
)
def test_what_its_kind_cannot_be_is_no_account(kind: PrincipalKind, said: dict[str, object]) -> None:
    with pytest.raises(AccountWrong):
        Office(kind, **{"subject": "x", **said})  # type: ignore[arg-type]
