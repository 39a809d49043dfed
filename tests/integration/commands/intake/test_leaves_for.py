"""A message is about to go to a number or address: may it, and with which stop code?"""

import threading
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import pytest

from services.intake import queries
from services.intake.identity.contacts import has_value, keep_vouched
from services.intake.rules.contacts import ContactKind
from services.intake.unasked import Ask, Leave, Withheld, leaves_for, stop_notices
from shared.bus.unit import unit_of
from shared.events.ids import new_id
from shared.sections import LimitSettings
from tests.integration.commands.intake.test_give_consent import brought_by_agent, give
from tests.support.contacts import new_number
from tests.support.installation import Installation
from tests.support.principals import VERIFIED

PHONE = ContactKind.PHONE


def leave(made: Installation, number: str, person: UUID, phone: str, delivery: UUID | None = None) -> Leave:
    with unit_of(made.context("intake"), "test.leave") as unit:
        points = queries.verified_points(unit.session, {(person, PHONE)}, limit=20)
        known = has_value(unit, points.get((person, PHONE), []), phone)
        ask = Ask(number, person, phone, known, delivery or new_id())
        return leaves_for(unit, [ask])[ask]


def test_what_nobody_asked_for_says_how_to_stop_it_always_the_same_way(made: Installation) -> None:
    number, applicant = brought_by_agent(made)
    phone = new_number()
    first, second = (leave(made, number, applicant, phone) for _ in range(2))
    assert first.withheld is None
    assert first.stop is not None
    assert first == second
    assert leave(made, number, applicant, new_number()).stop != first.stop, "another number has its own"


@pytest.mark.parametrize(("limit", "most"), [(LimitSettings().unasked_notices, 5), (3, 3)])
def test_so_many_a_number_and_day_and_an_earlier_answer_stays(
    made: Installation, monkeypatch: pytest.MonkeyPatch, limit: int, most: int
) -> None:
    context = made.context("intake")
    limits = context.settings.limits.model_copy(update={"unasked_notices": limit})
    monkeypatch.setattr(context, "settings", context.settings.model_copy(update={"limits": limits}))
    number, applicant = brought_by_agent(made)
    other, _ = brought_by_agent(made)
    phone, again = new_number(), new_id()
    told = [leave(made, number, applicant, phone, again)]
    told += [leave(made, other, applicant, phone) for _ in range(most - 1)]
    assert [one.withheld for one in told] == [None] * most
    assert leave(made, other, applicant, phone) == Leave(withheld=Withheld.LIMIT), "whichever the case"
    assert leave(made, number, applicant, phone, again) == told[0], "asked once more about the same message"


@pytest.mark.parametrize("verified", [True, False])
def test_whoever_acted_is_told_freely_where_they_are_known(made: Installation, verified: bool) -> None:
    number, applicant = brought_by_agent(made)
    give(made, number, applicant)
    phone = new_number()
    if verified:
        with unit_of(made.context("intake"), "test.vouch") as unit:
            keep_vouched(unit, applicant, {PHONE: phone}, VERIFIED)
    assert (leave(made, number, applicant, phone).stop is None) is verified


@pytest.mark.parametrize("everything", [True, False])
def test_what_was_stopped_stays_so(made: Installation, everything: bool) -> None:
    (number, applicant), (other, _) = brought_by_agent(made), brought_by_agent(made)
    phone = new_number()
    code = leave(made, number, applicant, phone).stop
    assert code is not None
    with unit_of(made.context("intake"), "test.stop") as unit:
        assert stop_notices(unit, code, everything=everything)
    assert leave(made, number, applicant, phone) == Leave(withheld=Withheld.STOPPED)
    assert (leave(made, other, applicant, phone).withheld is Withheld.STOPPED) is everything


def test_two_questions_that_name_numbers_crosswise_do_not_hold_each_other_up(made: Installation) -> None:
    number, applicant = brought_by_agent(made)
    context = made.context("intake")
    both_begin = threading.Barrier(2)

    def ask_for(phones: list[str], meet: threading.Barrier) -> int:
        with unit_of(context, "test.leaves") as unit:
            asks = [Ask(number, applicant, phone, False, new_id()) for phone in phones]
            meet.wait(30)
            return len(leaves_for(unit, asks))

    with ThreadPoolExecutor(2) as pool:
        for _ in range(5):
            phones = [new_number() for _ in range(20)]
            asked = [pool.submit(ask_for, some, both_begin) for some in (phones, phones[::-1])]
            # A deadlock would be raised, as DatabaseAway.
            assert [one.result() for one in asked] == [20, 20]
