"""An identity provider says that a log-in of its own is over, and so is ours that came of it."""

from uuid import uuid4

import pytest

from services.intake.identity.sessions import Proof, end_sessions_at
from shared.auth.principal import Assurance
from shared.bus.unit import unit_of
from tests.integration.commands.intake.test_end_session import opened, told
from tests.support.installation import Installation
from tests.support.principals import citizen


@pytest.mark.parametrize(
    ("named", "over"),
    [
        ({"sid": "one"}, {"one"}),
        ({"sub": "person"}, {"one", "two"}),
        ({"sid": "one", "sub": "person"}, {"one"}),
        ({"sid": "three"}, set()),
    ],
)
def test_by_its_session_or_by_its_person(made: Installation, named: dict[str, str], over: set[str]) -> None:
    provider = f"provider-{uuid4().hex[:8]}"
    sessions = {
        sid: opened(made, citizen(uuid4()), Proof(provider, Assurance.VERIFIED, sub="person", sid=sid))
        for sid in ("one", "two")
    }
    # The same names at another provider are somebody else's.
    elsewhere = opened(made, citizen(uuid4()), Proof("elsewhere", Assurance.VERIFIED, "person", "one"))
    with unit_of(made.context("intake"), "test.end") as unit:
        ended = end_sessions_at(unit, provider, **named)
    assert {session.id for session in ended} == {sessions[sid] for sid in over}
    assert elsewhere not in told(made)
