"""A key that is removed is believed no more, and what was opened with it is over."""

import pytest
from joserfc.jwk import ECKey

from services.intake.errors import ClientKeyNotFound
from services.intake.identity.client_keys import add_key, keys_of, remove_key
from services.intake.identity.sessions import Proof, open_session
from shared.auth.principal import Assurance, Principal, PrincipalKind
from shared.bus.unit import unit_of
from tests.integration.commands.intake.test_add_key import add, program
from tests.support.commands import row
from tests.support.installation import Installation


def test_its_sessions_end_and_it_is_noted_who_removed_it(made: Installation) -> None:
    name, key = program(made), ECKey.generate_key("P-256")
    kid = add(made, name, key)
    with unit_of(made.context("intake"), "test.open") as unit:
        who = Principal(PrincipalKind.CLIENT, name, channels=("app",))
        session = open_session(unit, who, Proof("test", Assurance.VERIFIED)).session
    with unit_of(made.context("intake"), "test.remove") as unit:
        assert [ended.id for ended in remove_key(unit, name, kid, "an administrator")] == [session]
    assert row(made, "intake.sessions", id=session).ended_why == "key-removed"
    assert row(made, "intake.client_keys", client=name).removed_by == "an administrator"
    with unit_of(made.context("intake"), "test.again") as unit:
        assert keys_of(unit, name) == []
        with pytest.raises(ClientKeyNotFound):
            remove_key(unit, name, kid, "an administrator")
        assert add_key(unit, name, key, "another") == kid
        assert len(keys_of(unit, name)) == 1
    kept = row(made, "intake.client_keys", client=name)
    assert (kept.added_by, kept.removed_at, kept.removed_by) == ("another", None, None)
