"""What a program has signed is taken once."""

from uuid import uuid4

from services.intake.identity.client_keys import spend_assertion
from services.intake.retention import RULES
from shared.bus.housekeeping import forget_old
from shared.bus.unit import unit_of
from tests.support.installation import Installation


def spend(made: Installation, client: str, jti: str) -> bool:
    with unit_of(made.context("intake"), "test.spend") as unit:
        return spend_assertion(unit, client, jti)


def test_the_second_time_it_is_spent(made: Installation) -> None:
    client, jti = str(uuid4()), str(uuid4())
    assert [spend(made, client, jti) for _ in range(2)] == [True, False]
    # Names are each program's own.
    assert spend(made, "another", jti)


def test_after_a_day_nobody_need_know_it(made: Installation) -> None:
    spend(made, str(uuid4()), "x")
    made.change("UPDATE intake.client_assertions SET spent_at = spent_at - interval '25 hours'")
    forget_old(made.context("intake"), RULES)
    assert made.value("SELECT count(*) FROM intake.client_assertions") == 0
