"""What a process knows of ended sessions and changed rights, and when it does not believe itself any more."""

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from shared.auth import revocations
from shared.auth.key_pair import public_key_of
from shared.auth.principal import Principal, PrincipalKind
from shared.auth.revocations import (
    LOOK_BACK,
    OLDEST,
    ChangedRights,
    Changes,
    EndedSession,
    Renewing,
    Revocations,
    RevocationsOld,
    SessionEnded,
    sign_changes,
)
from shared.auth.signatures import PublicKeys, SigningKey
from shared.auth.tokens import LONGEST_SESSION
from shared.errors import Unavailable
from tests.support.installation import wait_for

KEY = bytes(range(32))
START = datetime(2026, 11, 23, 9, tzinfo=UTC)
SESSION = UUID(int=1)
OFFICER = Principal(
    PrincipalKind.OFFICER,
    "officer-1",
    UUID(int=5),
    ("330102-ga",),
    "李四",
    rights_version=3,
    session=SESSION,
)


class Intake:
    """The other side: answers with what it has, page by page, signed with its key; or is away."""

    def __init__(self) -> None:
        self.now = START
        self.key = SigningKey(KEY)
        self.pages: list[tuple[list[EndedSession], list[ChangedRights]]] = [([], [])]
        self.signed_at: datetime | None = None
        self.away: Exception | None = None
        self.asked: list[dict[str, Any]] = []

    def clock(self) -> datetime:
        return self.now

    def __call__(self, asked: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(asked)
        if self.away is not None:
            raise self.away
        page = int(asked["cursor"] or 0)
        ended, rights = self.pages[page]
        following = str(page + 1) if page + 1 < len(self.pages) else None
        changes = Changes(
            signed_at=self.signed_at or self.now,
            read_at=self.now,
            ended=ended,
            rights=rights,
            next=following,
        )
        return sign_changes(self.key, changes)


@pytest.fixture
def intake() -> Intake:
    return Intake()


@pytest.fixture
def known(intake: Intake) -> Revocations:
    return Revocations(intake, PublicKeys([public_key_of(KEY)]), intake.clock)


def rights(version: int, *departments: str) -> ChangedRights:
    return ChangedRights(
        kind=PrincipalKind.OFFICER,
        subject="officer-1",
        version=version,
        person_ref=UUID(int=9),
        departments=list(departments),
        supervises=["330102-ga"],
        channels=[],
    )


def test_nobody_is_let_in_before_the_first_answer(known: Revocations) -> None:
    with pytest.raises(RevocationsOld) as refused:
        known.current(OFFICER)
    assert (refused.value.status, refused.value.retry_after_s) == (503, 5)


def test_whose_session_stands_goes_in_as_they_are(known: Revocations) -> None:
    known.renew()
    assert known.current(OFFICER) is OFFICER


def test_an_ended_session_is_over(known: Revocations, intake: Intake) -> None:
    known.renew()
    intake.pages = [([EndedSession(id=SESSION, expires_at=START + timedelta(hours=8))], [])]
    known.renew()
    with pytest.raises(SessionEnded):
        known.current(OFFICER)
    other = replace(OFFICER, session=UUID(int=2))
    assert known.current(other) is other


def test_what_ended_in_this_process_is_over_at_once(known: Revocations) -> None:
    known.renew()
    known.end(SESSION, START + timedelta(hours=8), logged_out=True)
    with pytest.raises(SessionEnded):
        known.current(OFFICER)


@pytest.mark.parametrize("logged_out", [True, False])
def test_a_session_is_left_by_its_own_log_out_or_its_age_only(
    known: Revocations, intake: Intake, logged_out: bool
) -> None:
    with pytest.raises(RevocationsOld):
        known.left(OFFICER)
    ends = START + timedelta(hours=8)
    intake.pages = [([EndedSession(id=SESSION, expires_at=ends, logged_out=logged_out)], [])]
    known.renew()
    assert known.left(OFFICER) is logged_out
    assert known.left(replace(OFFICER, session=UUID(int=2)))
    intake.pages, intake.now = [([], [])], ends + LONGEST_SESSION - timedelta(seconds=1)
    known.renew()
    assert known.left(OFFICER) is logged_out, "as long as its token tells whose form it was"


def test_what_ended_in_this_process_says_how(known: Revocations) -> None:
    known.renew()
    known.end(SESSION, START + timedelta(hours=8), logged_out=False)
    assert not known.left(OFFICER)
    known.end(SESSION, START + timedelta(hours=8), logged_out=True)
    assert known.left(OFFICER)


def test_an_old_answer_is_not_believed_until_there_is_a_new_one(known: Revocations, intake: Intake) -> None:
    known.renew()
    intake.now += OLDEST
    known.current(OFFICER)
    intake.now += timedelta(seconds=1)
    with pytest.raises(RevocationsOld):
        known.current(OFFICER)
    intake.away = Unavailable()
    with pytest.raises(Unavailable):
        known.renew()
    with pytest.raises(RevocationsOld):
        known.current(OFFICER)
    intake.away = None
    known.renew()
    known.current(OFFICER)


def test_changed_rights_take_the_place_of_the_tokens(known: Revocations, intake: Intake) -> None:
    intake.pages = [([], [rights(4, "330106-ga")])]
    known.renew()
    now = known.current(OFFICER)
    assert (now.departments, now.supervises, now.person_ref) == (
        ("330106-ga",),
        ("330102-ga",),
        UUID(int=9),
    )
    assert (now.subject, now.name, now.session) == (OFFICER.subject, OFFICER.name, OFFICER.session)
    # Somebody who logged in after the change brings it along; another kind of the same name is somebody else.
    newer = replace(OFFICER, rights_version=4)
    assert known.current(newer) is newer
    clerk = Principal(PrincipalKind.OPERATOR, "officer-1", session=UUID(int=3))
    assert known.current(clerk) is clerk


@pytest.mark.parametrize("order", [(4, 5), (5, 4)])
def test_the_newest_rights_count_in_whatever_order_they_come(
    known: Revocations, intake: Intake, order: tuple[int, int]
) -> None:
    for version in order:
        intake.pages = [([], [rights(version, f"department-{version}")])]
        known.renew()
    assert known.current(OFFICER).departments == ("department-5",)


def test_all_pages_are_read_and_each_question_begins_before_the_last_answer(
    known: Revocations, intake: Intake
) -> None:
    until = START + timedelta(hours=8)
    intake.pages = [([EndedSession(id=UUID(int=n), expires_at=until)], []) for n in range(10, 13)]
    intake.pages.append(([], [rights(4)]))
    known.renew()
    for n in range(10, 13):
        with pytest.raises(SessionEnded):
            known.current(replace(OFFICER, session=UUID(int=n)))
    assert known.current(OFFICER).departments == ()
    assert [asked["cursor"] for asked in intake.asked] == [None, "1", "2", "3"]
    assert {asked["since"] for asked in intake.asked} == {None}
    known.renew()
    assert intake.asked[-1]["since"] == (START - LOOK_BACK).isoformat()


def test_what_would_be_over_anyway_is_forgotten(known: Revocations, intake: Intake) -> None:
    end = START + timedelta(minutes=1)
    intake.pages = [([EndedSession(id=SESSION, expires_at=end)], [])]
    known.renew()
    intake.pages, intake.now = [([], [])], end + LONGEST_SESSION
    known.renew()
    assert known.current(OFFICER) is OFFICER


FORGERIES: dict[str, Callable[[Intake], None]] = {
    "another key": lambda intake: setattr(intake, "key", SigningKey(bytes(32))),
    "said again later": lambda intake: setattr(intake, "signed_at", START - OLDEST - timedelta(seconds=1)),
    "of tomorrow": lambda intake: setattr(intake, "signed_at", START + timedelta(days=1)),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_an_answer_that_is_not_intakes_changes_nothing(
    known: Revocations, intake: Intake, forgery: str
) -> None:
    known.renew()
    FORGERIES[forgery](intake)
    intake.pages = [([EndedSession(id=SESSION, expires_at=START + timedelta(hours=8))], [rights(9)])]
    with pytest.raises(RevocationsOld):
        known.renew()
    assert known.current(OFFICER) is OFFICER


@pytest.mark.parametrize("answer", [{}, {"signed": None}, {"signed": "a.b.c"}, {"signed": 7}])
def test_no_answer_is_none(answer: dict[str, Any]) -> None:
    known = Revocations(lambda asked: answer, PublicKeys([public_key_of(KEY)]), lambda: START)
    with pytest.raises(RevocationsOld):
        known.renew()


def test_a_token_is_no_answer(intake: Intake) -> None:
    token = SigningKey(KEY).sign(b"{}", "session+jwt")
    known = Revocations(lambda asked: {"signed": token}, PublicKeys([public_key_of(KEY)]), intake.clock)
    with pytest.raises(RevocationsOld):
        known.renew()


def test_it_is_renewed_as_long_as_the_app_runs_whatever_happens(
    known: Revocations, intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(revocations, "FETCH_EVERY", timedelta(milliseconds=5))
    monkeypatch.setattr(revocations, "RETRY_AFTER_S", 0.005)
    intake.away = Unavailable()
    renewing = Renewing(known)
    others = set(threading.enumerate())
    renewing.start()
    [thread] = set(threading.enumerate()) - others
    try:
        assert len(intake.asked) >= 1
        wait_for(lambda: len(intake.asked) >= 3, "it asks again while intake is away")
        intake.away = RuntimeError("a mistake of ours")
        seen = len(intake.asked)
        wait_for(lambda: len(intake.asked) >= seen + 3, "a mistake does not end it")
        intake.away = None
        wait_for(lambda: _lets_in(known), "it lets people in again")
    finally:
        renewing.stop()
    wait_for(lambda: not thread.is_alive(), "it ends")


def _lets_in(known: Revocations) -> bool:
    try:
        return known.current(OFFICER) is OFFICER
    except RevocationsOld:
        return False
