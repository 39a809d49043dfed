"""Somebody has a code sent: so many to a number, for a person and from a network, and no more."""

from datetime import timedelta

import pytest

from services.intake.errors import TooManyCodes
from services.intake.rules.one_time_code import CODES_OF_ONE_NETWORK, CODES_OF_ONE_NUMBER, CODES_OF_ONE_PERSON
from tests.support.commands import row
from tests.support.contacts import added, asked, handed, new_network, new_number, passes, somebody, tried
from tests.support.installation import Installation

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)


def test_nothing_of_the_code_is_there_before_it_is_sent(made: Installation) -> None:
    person, number, network = somebody(made), new_number(), new_network()
    code_id = asked(made, person, added(made, person, number), network)
    found = row(made, "intake.one_time_codes", id=code_id)
    assert (found.code, found.handed_at, found.used_at, found.tries) == (None, None, None, 0)
    for column in (found.value_lookup, found.network):
        assert not {number.encode(), network.encode()} & {bytes(column)}


def test_a_number_has_one_a_minute_and_five_a_day_whoever_asks(made: Installation) -> None:
    number = new_number()
    by_minute, by_day = CODES_OF_ONE_NUMBER
    for n in range(by_day.most):
        person = somebody(made)
        point = added(made, person, number)
        asked(made, person, point)
        if n == 0:
            other = somebody(made)
            with pytest.raises(TooManyCodes) as refused:
                asked(made, other, added(made, other, number))
            assert refused.value.retry_after_s == by_minute.within.total_seconds()
        passes(made, person, by_minute.within)
    person = somebody(made)
    point = added(made, person, number)
    with pytest.raises(TooManyCodes) as refused:
        asked(made, person, point)
    assert refused.value.retry_after_s == by_day.within.total_seconds()


def test_a_person_has_so_many_a_day_to_whatever_numbers(made: Installation) -> None:
    person = somebody(made)
    [limit] = CODES_OF_ONE_PERSON
    points = [added(made, person) for _ in range(5)]
    for n in range(limit.most):
        asked(made, person, points[n % 5])
        passes(made, person, MINUTE)
    with pytest.raises(TooManyCodes):
        asked(made, person, points[0])
    passes(made, person, DAY)
    asked(made, person, points[0])


def test_a_network_has_so_many_an_hour_whoever_asks(made: Installation) -> None:
    network = new_network()
    [limit] = CODES_OF_ONE_NETWORK
    person = somebody(made)
    asked(made, person, added(made, person), network)
    # As if the others had asked before.
    made.change(
        "INSERT INTO intake.one_time_codes SELECT gen_random_uuid(), contact, gen_random_uuid(), "
        "value_lookup, network, NULL, 0, made_at - interval '10 minutes' FROM intake.one_time_codes, "
        "generate_series(2, :most) WHERE person_ref = :person",
        most=limit.most,
        person=person,
    )
    other = somebody(made)
    point = added(made, other)
    with pytest.raises(TooManyCodes):
        asked(made, other, point, network)
    asked(made, other, point, new_network())


def test_a_new_one_takes_the_place_of_the_one_before(made: Installation) -> None:
    person = somebody(made)
    point = added(made, person)
    first = asked(made, person, point)
    sent = handed(made, first)
    passes(made, person, MINUTE)
    second = asked(made, person, point)
    assert sent is not None
    assert tried(made, person, point, sent.code) == "over"
    assert handed(made, first) is None
    assert handed(made, second) is not None
