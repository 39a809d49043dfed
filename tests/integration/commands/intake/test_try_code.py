"""Somebody types the code that came: right, wrong or over. Right it verifies the contact, nothing else."""

from uuid import UUID

import pytest

from services.intake.identity.contacts import keep_vouched
from services.intake.identity.persons import name_of
from services.intake.rules.contacts import ContactKind
from services.intake.rules.one_time_code import LIVES, TRIES
from shared.bus.unit import unit_of
from tests.support.commands import row
from tests.support.contacts import added, asked, handed, known, other_than, passes, somebody, tried
from tests.support.installation import Installation
from tests.support.principals import VERIFIED


@pytest.fixture
def person(made: Installation) -> UUID:
    return somebody(made)


def sent(made: Installation, person: UUID, point: UUID) -> str:
    """The code that came."""
    found = handed(made, asked(made, person, point))
    assert found is not None
    return found.code


def test_the_right_one_verifies_the_contact(made: Installation, person: UUID) -> None:
    point = added(made, person)
    code = sent(made, person, point)
    assert tried(made, person, point, f" {code[:3]} {code[3:]}") == "right"
    [found] = known(made, person)
    assert (found.source, found.assurance, found.used) == ("one_time_code", "reached", True)


def test_it_says_nothing_about_who_the_person_is(made: Installation, person: UUID) -> None:
    before = row(made, "intake.persons", person_ref=person)
    point = added(made, person)
    tried(made, person, point, sent(made, person, point))
    assert row(made, "intake.persons", person_ref=person) == before
    with unit_of(made.context("intake"), "test.read") as unit:
        assert name_of(unit, person) == ("某人", "verified")


def test_a_wrong_one_counts_and_after_so_many_none_is_right(made: Installation, person: UUID) -> None:
    point = added(made, person)
    code = sent(made, person, point)
    wrong = [tried(made, person, point, other_than(code)) for _ in range(TRIES)]
    assert wrong == ["wrong"] * TRIES
    assert tried(made, person, point, code) == "over"
    assert known(made, person)[0].verified_at is None


def test_it_is_good_once_and_for_ten_minutes(made: Installation, person: UUID) -> None:
    point = added(made, person)
    code = sent(made, person, point)
    assert tried(made, person, point, code) == "right"
    assert tried(made, person, point, code) == "over"
    other = somebody(made)
    late = added(made, other)
    code = sent(made, other, late)
    passes(made, other, LIVES)
    assert tried(made, other, late, code) == "over"


def test_before_any_was_sent_there_is_none(made: Installation, person: UUID) -> None:
    point = added(made, person)
    assert tried(made, person, point, "000000") == "over"
    asked(made, person, point)
    assert tried(made, person, point, "000000") == "over"


def test_the_code_of_another_contact_is_wrong(made: Installation, person: UUID) -> None:
    one, other = added(made, person), added(made, person)
    code, own = sent(made, person, one), sent(made, person, other)
    if code != own:
        assert tried(made, person, other, code) == "wrong"
    assert tried(made, person, other, own) == "right"


def test_the_one_verified_last_is_used_and_a_better_source_stays_named(
    made: Installation, person: UUID
) -> None:
    with unit_of(made.context("intake"), "test.vouch") as unit:
        keep_vouched(unit, person, {ContactKind.PHONE: "13800008000"}, VERIFIED)
    point = added(made, person)
    tried(made, person, point, sent(made, person, point))
    assert [(one.id == str(point), one.used) for one in known(made, person)] == [(True, True), (False, False)]
    vouched = UUID(known(made, person)[1].id)
    tried(made, person, vouched, sent(made, person, vouched))
    [first, _] = known(made, person)
    assert (UUID(first.id), first.source, first.assurance, first.used) == (vouched, "test", "verified", True)
