"""A database that goes away is nobody's fault."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DatabaseError

from deploy.services import SERVICES, part
from shared.bus.handlers import handlers_of
from shared.bus.inbox import Handler
from shared.bus.unit import Unit
from shared.db.outages import DatabaseAway
from shared.db.transaction import transaction
from shared.events.fact import Event
from tests.integration.bus.history import History, events, kind, make_stage
from tests.support.installation import Installation


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("delivery", ["database"], indirect=True)
def test_nobody_is_blamed_for_a_lost_connection(
    installation: Installation, history: History, service: str
) -> None:
    stage = make_stage(installation, service, history)
    _, facts = stage.new_case()
    early = [fact for fact in facts if kind(fact) != "certificate-issued"]
    found = handlers_of(part(service, "worker").Worker)
    lost: list[Event] = []

    def lose(handler: Handler) -> Callable[[Unit, Event, Any], None]:
        def command(unit: Unit, event: Event, loaded: Any) -> None:
            handler.command(unit, event, loaded)
            if not lost:
                lost.append(event)
                unit.connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

        return command

    inbox = installation.inbox(service, {t: Handler(h.load, lose(h)) for t, h in found.items()})
    with pytest.raises(DatabaseAway):
        inbox.receive(events(early))
    assert installation.states(service) == {}
    inbox.receive(events(early))

    assert lost
    assert installation.value(f"SELECT count(*) FROM {service}.inbox") == 0
    assert installation.unfinished(service) == 0


def test_every_loss_of_the_connection_has_one_name(db_installation: Installation) -> None:
    # What psycopg2 says when the server dies in the middle of an answer; it is no OperationalError.
    said = Exception("error with status PGRES_TUPLES_OK and no message from the libpq")
    torn = DatabaseError("SELECT 1", None, said, connection_invalidated=True)
    with pytest.raises(DatabaseAway), transaction(db_installation.context("notify").engine, "test.torn"):
        raise torn
