"""A log-in ends, or its rights change, in one process, and within a minute it is so in all."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Engine, event

from services.intake.identity.accounts import Office, close_account, set_account
from shared.auth.principal import PrincipalKind
from shared.bus.unit import unit_of
from tests.integration.identity.conftest import Apart

OFFICER = {"subject": "officer-1", "departments": ["xihu-police"]}


def test_who_logged_out_at_intake_is_out_at_the_desk(apart: Apart) -> None:
    headers, other = apart.log_in("officer", **OFFICER), apart.log_in("officer", **OFFICER)
    apart.half_a_minute()
    assert apart.queue(headers) == (200, "")
    assert apart.intake.post("/logout", headers=headers).status_code == 303
    # At intake at once, at the desk with the next answer.
    assert apart.intake.get("/api/v1/cases", headers=headers).json()["code"] == "auth.session-ended"
    apart.half_a_minute()
    assert apart.queue(headers) == (401, "auth.session-ended")
    assert apart.queue(other) == (200, "")


def test_without_a_young_answer_nobody_is_let_in(apart: Apart) -> None:
    headers = apart.log_in("officer", **OFFICER)
    assert apart.queue(headers) == (200, "")
    apart.intake_process.kill()
    apart.clock.ahead = timedelta(seconds=50)
    assert apart.queue(headers) == (200, "")
    apart.clock.ahead = timedelta(seconds=70)
    answer = apart.desk.get("/api/v1/tasks", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (503, "auth.revocations-old")
    assert int(answer.headers["retry-after"]) > 0
    # What needs no log-in is there all the same, and so are pages that only greet whoever has one.
    assert apart.desk.get("/healthz").status_code == 200
    token = headers["Authorization"].removeprefix("Bearer ")
    assert apart.desk.get("/problems", headers={"Cookie": f"onestop_session={token}"}).status_code == 200


def test_changed_rights_are_in_force_without_a_new_log_in(apart: Apart) -> None:
    headers = apart.log_in("officer", **OFFICER)
    number = apart.installation.submit(apart.installation.citizen()).number
    apart.installation.pump()
    task = apart.installation.value("SELECT id FROM approval.tasks WHERE case_no = :n", n=number)
    claim = f"/api/v1/tasks/{task}/claim"
    assert apart.desk.post(claim, headers=headers).status_code == 404
    office = Office(PrincipalKind.OFFICER, "officer-1", _person(apart), departments=("xihu-community",))
    with unit_of(apart.installation.context("intake"), "test.rights") as unit:
        set_account(unit, office, "an administrator")
    apart.half_a_minute()
    assert apart.desk.post(claim, headers=headers).status_code == 200


def test_who_leaves_is_out_and_does_not_come_back(apart: Apart) -> None:
    headers = apart.log_in("officer", **OFFICER)
    with unit_of(apart.installation.context("intake"), "test.leave") as unit:
        close_account(unit, PrincipalKind.OFFICER, "officer-1", "an administrator")
    apart.half_a_minute()
    assert apart.queue(headers) == (401, "auth.session-ended")
    again = apart.intake.post("/dev/login", data={"person": "officer-1"}, headers=_own(apart))
    assert (again.status_code, again.headers.get("set-cookie")) == (403, None)


def test_knowing_who_asks_costs_no_question_and_no_statement(apart: Apart) -> None:
    who = apart.installation.citizen()
    citizen = apart.log_in("citizen", name=who.name, id_number=who.id_number)
    officer = apart.log_in("officer", **OFFICER)
    apart.queue(officer)
    apart.intake_process.kill()
    with statements() as known:
        for _ in range(3):
            assert apart.queue(citizen) == (403, "auth.forbidden")
    assert known == []
    with statements() as asked:
        for _ in range(3):
            assert apart.queue(officer) == (200, "")
    assert len(asked) > 0, "what is counted is seen"


@contextmanager
def statements() -> Iterator[list[str]]:
    """What this process, where the desk is, asks any database while the block lasts."""
    seen: list[str] = []

    def note(_: Any, __: Any, statement: str, *___: Any) -> None:
        seen.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(Engine, "before_cursor_execute", note)


def _person(apart: Apart) -> UUID:
    found: UUID = apart.installation.value(
        "SELECT person_ref FROM intake.accounts WHERE subject = 'officer-1' AND kind = 'officer'"
    )
    return found


def _own(apart: Apart) -> dict[str, str]:
    return {"Origin": str(apart.intake.base_url).rstrip("/")}
