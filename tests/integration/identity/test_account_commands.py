"""`onestop account` and `onestop session`: what they change is what everybody is told."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from joserfc.jwk import ECKey

from deploy.commands.app import run
from services.intake.identity.sessions import Proof, open_session
from shared.auth.principal import Assurance, Principal, PrincipalKind
from shared.bus.unit import unit_of
from tests.support.commands import row, rows
from tests.support.giving import give_commands_to, logging_as_before
from tests.support.installation import Installation, id_number
from tests.support.principals import citizen, officer

__all__ = ["logging_as_before"]

Give = Callable[..., Any]


@pytest.fixture
def give(
    db_installation: Installation,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    logging_as_before: None,
) -> Give:
    give_commands_to(db_installation, monkeypatch)

    def given(*arguments: str, stdin: str = "") -> Any:
        monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        code = run([*arguments, "--json"])
        out = capsys.readouterr().out
        return json.loads(out) if code == 0 else code

    return given


def opened(made: Installation, who: Any) -> Any:
    with unit_of(made.context("intake"), "test.open") as unit:
        return open_session(unit, who, Proof("test", Assurance.VERIFIED)).session


def test_an_officer_is_made_linked_changed_and_leaves(db_installation: Installation, give: Give) -> None:
    made = db_installation
    person = f"王芳\n{id_number(5)}\n"
    told = give("account", "set", "officer", "o-1", "--department", "xihu-police", "--person", stdin=person)
    assert told == {"kind": "officer", "subject": "o-1", "version": 1, "linked": True}
    linked = row(made, "intake.accounts", subject="o-1").person_ref
    assert rows(made, "intake.persons", person_ref=linked)
    assert give("account", "set", "officer", "o-1", "--supervises", "xihu-police")["version"] == 2
    account = row(made, "intake.accounts", subject="o-1")
    assert (account.departments, account.supervises, account.person_ref) == ([], ["xihu-police"], linked)
    session = opened(made, officer("o-1"))
    assert give("account", "close", "officer", "o-1") == {"ended": 1}
    assert row(made, "intake.sessions", id=session).ended_why == "account-closed"


def test_a_program_gets_a_key_and_loses_it(db_installation: Installation, give: Give, tmp_path: Path) -> None:
    key = ECKey.generate_key("P-256")
    file = tmp_path / "app.pem"
    file.write_bytes(key.as_pem(private=False))
    assert give("account", "add-key", "app", str(file)) == 1
    give("account", "set", "client", "app", "--channel", "app", "--filings-a-day", "200")
    assert row(db_installation, "intake.accounts", subject="app").filings_a_day == 200
    assert give("account", "add-key", "app", str(file)) == {"program": "app", "key": key.thumbprint()}
    [listed] = give("account", "keys", "app")["keys"]
    assert listed["key"] == key.thumbprint()
    session = opened(db_installation, Principal(PrincipalKind.CLIENT, "app", channels=("app",)))
    assert give("account", "remove-key", "app", key.thumbprint()) == {"ended": 1}
    assert row(db_installation, "intake.sessions", id=session).ended_why == "key-removed"
    assert give("account", "keys", "app")["keys"] == []
    assert give("account", "remove-key", "app", key.thumbprint()) == 3
    file.write_bytes(key.as_pem(private=True))
    assert give("account", "add-key", "app", str(file)) == 1
    assert give("account", "set", "officer", "o-1", "--filings-a-day", "2") == 1


def test_log_ins_are_ended(db_installation: Installation, give: Give) -> None:
    person = uuid4()
    one, two = opened(db_installation, citizen(person)), opened(db_installation, citizen(person))
    assert give("session", "end", str(one)) == {"ended": 1}
    assert give("session", "end-all", "citizen", str(person)) == {"ended": 1}
    assert {row(db_installation, "intake.sessions", id=id).ended_why for id in (one, two)} == {"ordered"}


@pytest.mark.parametrize(
    ("arguments", "stdin", "code"),
    [
        (("account", "set", "wizard", "o-1"), "", 2),
        (("account", "set", "citizen", "o-1"), "", 1),
        (("account", "set", "officer", "with a blank"), "", 1),
        (("account", "set", "officer", "o-1", "--person"), "", 2),
        (("account", "set", "officer", "o-1", "--person"), "王芳\n123\n", 2),
        (("account", "close", "officer", "nobody-here"), "", 1),
    ],
)
def test_what_cannot_be_is_refused(
    db_installation: Installation, give: Give, arguments: tuple[str, ...], stdin: str, code: int
) -> None:
    assert give(*arguments, stdin=stdin) == code
    assert rows(db_installation, "intake.accounts", active=True) == []
