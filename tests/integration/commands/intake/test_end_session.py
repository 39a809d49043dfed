"""A session ends before its time, once."""

from datetime import UTC, datetime
from uuid import UUID, uuid4

from services.intake.identity.sessions import Proof, Why, changes, end_session, open_session
from shared.auth.principal import Assurance, Principal
from shared.bus.unit import unit_of
from tests.support.commands import row
from tests.support.installation import Installation
from tests.support.principals import citizen

PROOF = Proof("somewhere", Assurance.VERIFIED)


def opened(made: Installation, who: Principal, proof: Proof = PROOF) -> UUID:
    with unit_of(made.context("intake"), "test.open") as unit:
        session = open_session(unit, who, proof).session
    assert session is not None
    return session


def told(made: Installation) -> list[UUID]:
    """What intake tells everybody: the sessions that ended, as often and in the order in which it says so."""
    found: list[UUID] = []
    cursor: str | None = None
    while True:
        with unit_of(made.context("intake"), "test.changes") as unit:
            page = changes(unit, None, cursor, datetime.now(UTC))
        found += [session.id for session in page.ended]
        if page.next is None:
            return found
        cursor = page.next


def test_it_is_over_and_everybody_is_told(made: Installation) -> None:
    one, other = opened(made, citizen(uuid4())), opened(made, citizen(uuid4()))
    with unit_of(made.context("intake"), "test.end") as unit:
        (ended,) = end_session(unit, one, "somebody", Why.LOGGED_OUT)
    kept = row(made, "intake.sessions", id=one)
    assert (ended.id, ended.expires_at) == (one, kept.expires_at)
    assert (kept.ended_by, kept.ended_why) == ("somebody", "logged-out")
    assert kept.ended_at is not None
    assert told(made).count(one) == 1
    assert other not in told(made)


def test_it_ends_once(made: Installation) -> None:
    one = opened(made, citizen(uuid4()))
    for by, count in (("first", 1), ("second", 0)):
        with unit_of(made.context("intake"), "test.end") as unit:
            assert len(end_session(unit, one, by, Why.ORDERED)) == count
    assert row(made, "intake.sessions", id=one).ended_by == "first"


def test_one_that_is_over_or_was_never_there_is_nothing_to_tell(made: Installation) -> None:
    old = opened(made, citizen(uuid4()))
    made.change("UPDATE intake.sessions SET expires_at = began_at WHERE id = :id", id=old)
    for session in (old, uuid4()):
        with unit_of(made.context("intake"), "test.end") as unit:
            assert end_session(unit, session, "somebody", Why.LOGGED_OUT) == []
    assert old not in told(made)
