"""Whoever holds a number stops what it is told, by the code in a message."""

from services.intake.unasked import stop_notices
from shared.bus.unit import unit_of
from tests.integration.commands.intake.test_give_consent import brought_by_agent
from tests.integration.commands.intake.test_leaves_for import leave
from tests.support.commands import row
from tests.support.contacts import new_number
from tests.support.installation import Installation


def stop(made: Installation, code: str, *, everything: bool = False) -> bool:
    with unit_of(made.context("intake"), "test.stop") as unit:
        return stop_notices(unit, code, everything=everything)


def coded(made: Installation) -> tuple[str, str]:
    """A case with somebody who did nothing in it, and the code that they are told."""
    number, applicant = brought_by_agent(made)
    code = leave(made, number, applicant, new_number()).stop
    assert code is not None
    return number, code


def stopped(made: Installation, number: str) -> tuple[bool, bool]:
    found = row(made, "intake.unasked_contacts", case_no=number)
    return found.stopped_at is not None, found.all_stopped_at is not None


def test_as_it_was_printed_or_as_it_is_typed(made: Installation) -> None:
    for typed in (str, str.lower, lambda code: f" {code.replace('-', '')} "):
        number, code = coded(made)
        assert stop(made, typed(code))
        assert stopped(made, number) == (True, False)


def test_a_second_time_can_only_stop_more(made: Installation) -> None:
    number, code = coded(made)
    assert stop(made, code, everything=True)
    at = row(made, "intake.unasked_contacts", case_no=number).stopped_at
    assert stop(made, code)
    assert stopped(made, number) == (True, True)
    assert row(made, "intake.unasked_contacts", case_no=number).stopped_at == at


def test_a_code_that_nobody_was_told_stops_nothing(made: Installation) -> None:
    number, _ = coded(made)
    assert not stop(made, "BCDF-GHJK-LMNP")
    assert stopped(made, number) == (False, False)
