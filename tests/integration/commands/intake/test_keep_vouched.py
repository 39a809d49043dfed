"""What a provider vouches for is how somebody is reached, until it vouches for something else."""

from itertools import count
from uuid import UUID, uuid4

import pytest

from services.intake import access, queries
from services.intake.identity.attributes import FORM, Source
from services.intake.identity.contacts import keep_vouched
from services.intake.identity.persons import register_person
from services.intake.rules.contacts import ContactKind
from services.intake.rules.submission import NamedPerson
from shared.auth.principal import Assurance
from shared.bus.unit import unit_of
from tests.support.commands import rows
from tests.support.installation import Installation, id_number

SERIALS = count(904_001)
PLATFORM = Source("platform", Assurance.VERIFIED)
BANK = Source("bank", Assurance.VERIFIED)
PHONE, EMAIL = ContactKind.PHONE, ContactKind.EMAIL


@pytest.fixture
def ref(made: Installation) -> UUID:
    with unit_of(made.context("intake"), "test.person") as unit:
        return register_person(unit, NamedPerson("某", id_number(next(SERIALS)), None), PLATFORM)


def vouch(made: Installation, ref: UUID, source: Source = PLATFORM, **said: str | None) -> None:
    with unit_of(made.context("intake"), "test.vouch") as unit:
        keep_vouched(unit, ref, {ContactKind(kind): value for kind, value in said.items()}, source)


def known(made: Installation, ref: UUID) -> list[tuple[str, str]]:
    """Kind and source of every point."""
    with unit_of(made.context("intake"), "test.read") as unit:
        return [(point.kind, point.source) for point in queries.contact_points(unit.session, ref, limit=9)]


def reached(made: Installation, ref: UUID, kind: ContactKind) -> str | None:
    """Where a notice of some case would go."""
    with unit_of(made.context("intake"), "test.read") as unit:
        message = access.Message(ref, uuid4(), kind, "1", "test")
        return access.read_contacts(unit, [message], "test")[0].contact


def test_it_takes_the_place_of_what_the_same_provider_said(made: Installation, ref: UUID) -> None:
    vouch(made, ref, phone="13800138001", email="a@example.org")
    vouch(made, ref, phone="13800138009", email=None)
    assert (reached(made, ref, PHONE), reached(made, ref, EMAIL)) == ("13800138009", "a@example.org")
    assert known(made, ref) == [("phone", "platform"), ("email", "platform")]


def test_the_same_again_changes_nothing(made: Installation, ref: UUID) -> None:
    vouch(made, ref, phone="13800138001")
    before = rows(made, "intake.contact_points", person_ref=ref)
    vouch(made, ref, phone="13800138001")
    assert rows(made, "intake.contact_points", person_ref=ref) == before


def test_another_provider_s_word_stays_beside_it_and_the_newest_is_used(
    made: Installation, ref: UUID
) -> None:
    vouch(made, ref, phone="13800138001")
    vouch(made, ref, BANK, phone="13800138002")
    assert known(made, ref) == [("phone", "bank"), ("phone", "platform")]
    assert reached(made, ref, PHONE) == "13800138002"


def test_what_is_only_claimed_is_not_kept(made: Installation, ref: UUID) -> None:
    vouch(made, ref, FORM, phone="13800138001")
    assert known(made, ref) == []
    assert reached(made, ref, PHONE) is None
