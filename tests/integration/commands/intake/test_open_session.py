"""Somebody logs in: a row says who, how we know them, and until when."""

from datetime import timedelta
from uuid import uuid4

from services.intake.identity.sessions import LASTS, Proof, open_session
from shared.auth.principal import Assurance
from shared.auth.tokens import LONGEST_SESSION
from shared.bus.unit import unit_of
from tests.support.commands import row
from tests.support.installation import Installation
from tests.support.principals import citizen, operator


def test_the_principal_has_a_session_and_says_how_we_know_them(made: Installation) -> None:
    person = uuid4()
    with unit_of(made.context("intake"), "test.open") as unit:
        opened = open_session(unit, citizen(person), Proof("somewhere", Assurance.REACHED))
    assert (opened.person_ref, opened.provider, opened.assurance) == (person, "somewhere", Assurance.REACHED)
    kept = row(made, "intake.sessions", id=opened.session)
    assert (kept.kind, kept.subject, kept.person_ref) == ("citizen", str(person), person)
    assert (kept.provider, kept.assurance, kept.ended_at) == ("somewhere", "reached", None)
    assert kept.expires_at - kept.began_at == LASTS < LONGEST_SESSION + timedelta(seconds=1)


def test_of_an_operator_both_identities_are_kept(made: Installation) -> None:
    served = uuid4()
    with unit_of(made.context("intake"), "test.open") as unit:
        opened = open_session(unit, operator(served), Proof("somewhere", Assurance.VERIFIED))
    kept = row(made, "intake.sessions", id=opened.session)
    assert (kept.subject, kept.acting_for) == ("operator-1", served)


def test_what_the_provider_calls_people_is_kept_as_a_lookup_only(made: Installation) -> None:
    proof = Proof("somewhere", Assurance.VERIFIED, sub="330106199003073012", sid="its-session")
    with unit_of(made.context("intake"), "test.open") as unit:
        opened = open_session(unit, citizen(uuid4()), proof)
    kept = row(made, "intake.provider_sessions", session=opened.session)
    vault = made.context("intake").vault
    assert bytes(kept.sub) == vault.lookup("somewhere|330106199003073012", kind="provider-sub")
    assert bytes(kept.sid) == vault.lookup("somewhere|its-session", kind="provider-sid")
