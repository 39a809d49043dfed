"""What intake tells the other services about log-ins: page by page, all of it and nothing that is over."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from services.intake.identity import sessions
from services.intake.identity.accounts import Office, set_account
from services.intake.identity.sessions import Why, changes, end_session
from shared.auth.principal import PrincipalKind
from shared.auth.revocations import ChangedRights
from shared.bus.unit import unit_of
from shared.paging import CursorInvalid
from tests.integration.commands.intake.test_end_session import opened, told
from tests.support.installation import Installation
from tests.support.principals import citizen


def rights(made: Installation, since: datetime | None = None) -> list[ChangedRights]:
    found: list[ChangedRights] = []
    cursor: str | None = None
    while True:
        with unit_of(made.context("intake"), "test.changes") as unit:
            page = changes(unit, since, cursor, datetime.now(UTC))
        found += page.rights
        if page.next is None:
            return found
        cursor = page.next


def test_every_ending_comes_once_however_many_pages_there_are(
    made: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "PAGE", 2)
    at_once = [opened(made, citizen(uuid4())) for _ in range(5)]
    later = [opened(made, citizen(uuid4())) for _ in range(2)]
    # Five at one moment: the order has to tell them apart all the same.
    for moment in (at_once, later[:1], later[1:]):
        with unit_of(made.context("intake"), "test.end") as unit:
            for session in moment:
                end_session(unit, session, "somebody", Why.ORDERED)
    ours = {*at_once, *later}
    assert [one for one in told(made) if one in ours] == [*sorted(at_once), *later]


def test_rights_come_with_their_version(made: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "PAGE", 2)
    subjects = [f"changes-{uuid4().hex[:8]}" for _ in range(5)]
    for subject in subjects:
        for department in ("xihu-police", "xihu-community"):
            with unit_of(made.context("intake"), "test.account") as unit:
                office = Office(PrincipalKind.OFFICER, subject, departments=(department,))
                set_account(unit, office, "an administrator")
    found = [one for one in rights(made) if one.subject in subjects]
    assert [(one.subject, one.version, one.departments) for one in found] == [
        (subject, 2, ["xihu-community"]) for subject in subjects
    ]


def test_only_what_is_newer_than_asked_and_than_any_token(made: Installation) -> None:
    subject = f"changes-{uuid4().hex[:8]}"
    with unit_of(made.context("intake"), "test.account") as unit:
        set_account(unit, Office(PrincipalKind.OFFICER, subject, departments=("x",)), "somebody")
        now = unit.wall
    assert [one.subject for one in rights(made, now - timedelta(minutes=5))].count(subject) == 1
    assert subject not in [one.subject for one in rights(made, now)]
    made.change(
        "UPDATE intake.accounts SET changed_at = changed_at - interval '13 hours' WHERE subject = :s",
        s=subject,
    )
    assert subject not in [one.subject for one in rights(made, now - timedelta(days=9))]


@pytest.mark.parametrize("cursor", ["nonsense", "ended:nonsense", "rights:e30=", "ended:" + "x" * 400])
def test_a_cursor_that_is_not_ours_is_refused(made: Installation, cursor: str) -> None:
    with unit_of(made.context("intake"), "test.changes") as unit, pytest.raises(CursorInvalid):
        changes(unit, None, cursor, datetime.now(UTC))


def test_how_a_session_ended_is_told_for_as_long_as_its_token_may_bring_a_form(made: Installation) -> None:
    left, ordered = opened(made, citizen(uuid4())), opened(made, citizen(uuid4()))
    with unit_of(made.context("intake"), "test.end") as unit:
        end_session(unit, left, "somebody", Why.LOGGED_OUT)
        end_session(unit, ordered, "somebody", Why.ORDERED)

    def how() -> dict[UUID, bool]:
        found: dict[UUID, bool] = {}
        cursor: str | None = None
        while True:
            with unit_of(made.context("intake"), "test.changes") as unit:
                page = changes(unit, None, cursor, datetime.now(UTC))
            found |= {one.id: one.logged_out for one in page.ended if one.id in (left, ordered)}
            if page.next is None:
                return found
            cursor = page.next

    assert how() == {left: True, ordered: False}
    made.change(
        "UPDATE intake.sessions SET ended_at = ended_at - interval '19 hours', "
        "expires_at = expires_at - interval '19 hours' WHERE id = :i",
        i=ordered,
    )
    assert how()[ordered] is False
