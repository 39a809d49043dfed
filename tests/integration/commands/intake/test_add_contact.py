"""Somebody says how they are reached: kept once, and used for nothing before it is verified."""

from uuid import uuid4

import pytest

from services.intake import access
from services.intake.errors import TooManyContacts
from services.intake.rules.contacts import MOST
from shared.auth.principal import Assurance
from shared.bus.unit import unit_of
from tests.support.commands import row
from tests.support.contacts import added, known, new_number, somebody
from tests.support.installation import Installation


def test_it_waits_to_be_verified_and_is_sealed(made: Installation) -> None:
    person, number = somebody(made), new_number()
    point = added(made, person, number)
    [found] = known(made, person)
    assert (found.id, found.assurance, found.verified_at, found.used) == (str(point), "claimed", None, False)
    assert found.shown == f"{number[:3]}****{number[-4:]}"
    assert number.encode() not in bytes(row(made, "intake.contact_points", id=point).sealed_value)
    with unit_of(made.context("intake"), "test.read") as unit:
        message = access.Message(person, uuid4(), "phone", "1", "test")
        assert access.read_contacts(unit, [message], "test")[0].contact is None


def test_the_same_again_is_the_same(made: Installation) -> None:
    person, number = somebody(made), new_number()
    assert added(made, person, number) == added(made, person, number)
    assert len(known(made, person)) == 1


def test_two_people_may_have_the_same_number(made: Installation) -> None:
    number = new_number()
    for person in (somebody(made), somebody(made)):
        added(made, person, number)
        assert [one.assurance for one in known(made, person)] == [Assurance.CLAIMED]


def test_nobody_keeps_more_than_there_is_room_for(made: Installation) -> None:
    person = somebody(made)
    for _ in range(MOST):
        added(made, person)
    with pytest.raises(TooManyContacts):
        added(made, person)
