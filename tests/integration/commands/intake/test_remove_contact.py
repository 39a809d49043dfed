"""Somebody removes a contact of theirs: nothing is left of it."""

from uuid import UUID

import pytest

from services.intake.errors import ContactNotFound, ContactVouched
from services.intake.identity.contacts import keep_vouched, own_point, remove_contact
from services.intake.rules.contacts import ContactKind
from shared.bus.unit import unit_of
from tests.support.commands import rows
from tests.support.contacts import added, known, new_number, somebody
from tests.support.installation import Installation
from tests.support.principals import VERIFIED


def remove(made: Installation, person: UUID, point: UUID) -> None:
    with unit_of(made.context("intake"), "test.remove") as unit:
        remove_contact(unit, own_point(unit, person, point))


def test_it_is_gone(made: Installation) -> None:
    person = somebody(made)
    point = added(made, person)
    remove(made, person, point)
    assert rows(made, "intake.contact_points", id=point) == []


def test_somebody_else_s_is_not_there(made: Installation) -> None:
    person = somebody(made)
    point = added(made, person)
    with pytest.raises(ContactNotFound):
        remove(made, somebody(made), point)
    assert [one.id for one in known(made, person)] == [str(point)]


def test_what_a_provider_vouches_for_is_changed_there(made: Installation) -> None:
    person = somebody(made)
    with unit_of(made.context("intake"), "test.vouch") as unit:
        keep_vouched(unit, person, {ContactKind.PHONE: new_number()}, VERIFIED)
    [point] = known(made, person)
    assert not point.removable
    with pytest.raises(ContactVouched):
        remove(made, person, UUID(point.id))
