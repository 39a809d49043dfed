"""People with contacts to verify, and the codes that they are sent."""

from datetime import timedelta
from itertools import count
from uuid import UUID

from services.intake.identity.codes import HandedOut, Tried, ask_for_code, hand_out_code, try_code
from services.intake.identity.contacts import Contact, add_contact, contacts_of, own_point
from services.intake.identity.persons import register_person
from services.intake.rules.contacts import ContactKind
from services.intake.rules.submission import NamedPerson
from services.notify.commands import say_channels
from shared.bus.unit import unit_of
from tests.support.installation import Installation, id_number
from tests.support.principals import VERIFIED

_PEOPLE, _NUMBERS, _NETWORKS = count(905_001), count(1), count(1)
PHONE = ContactKind.PHONE


def somebody(made: Installation) -> UUID:
    """A person without any contact."""
    with unit_of(made.context("intake"), "test.person") as unit:
        return register_person(unit, NamedPerson("某人", id_number(next(_PEOPLE)), None), VERIFIED)


def new_number() -> str:
    """A phone number that nobody has had a code at."""
    return f"137{next(_NUMBERS):08d}"


def new_network() -> str:
    """A network that nobody has asked from."""
    return f"198.51.100.{next(_NETWORKS)}"


def added(made: Installation, person: UUID, number: str | None = None) -> UUID:
    """A phone that the person says is theirs."""
    with unit_of(made.context("intake"), "test.add") as unit:
        return add_contact(unit, person, PHONE, number or new_number()).id


def asked(made: Installation, person: UUID, point: UUID, network: str | None = None) -> UUID:
    """A code for it."""
    with unit_of(made.context("intake"), "test.ask") as unit:
        return ask_for_code(unit, own_point(unit, person, point), network or new_network())


def handed(made: Installation, code_id: UUID) -> HandedOut | None:
    """The code, as whoever sends it is told."""
    with unit_of(made.context("intake"), "test.hand") as unit:
        return hand_out_code(unit, code_id, "notify")


def tried(made: Installation, person: UUID, point: UUID, code: str) -> Tried:
    """Somebody types a code."""
    with unit_of(made.context("intake"), "test.try") as unit:
        return try_code(unit, own_point(unit, person, point), code)


def known(made: Installation, person: UUID) -> list[Contact]:
    """Everything that the person sees."""
    with unit_of(made.context("intake"), "test.read") as unit:
        return contacts_of(unit, person)


def passes(made: Installation, person: UUID, time: timedelta) -> None:
    """So much time passes for the codes of a person."""
    made.change(
        "UPDATE intake.one_time_codes SET made_at = made_at - :time, handed_at = handed_at - :time "
        "WHERE person_ref = :person",
        time=time,
        person=person,
    )


def other_than(code: str) -> str:
    """A code that is wrong."""
    return f"{(int(code) + 1) % 10**6:06}"


def can_send_codes(made: Installation, *kinds: str) -> None:
    """As a worker of notify says that has a channel for each of these kinds of contact, and for no other."""
    with unit_of(made.context("notify"), "test.channels") as unit:
        say_channels(unit, dict.fromkeys(kinds, "test"))
