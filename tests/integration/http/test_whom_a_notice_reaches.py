"""A text message about a case goes where whoever is told wants it, and never where a stranger wants it."""

from collections.abc import Callable, Iterator
from datetime import date
from itertools import count
from typing import Any

import pytest

from services.notify.channels import OutsideMessage, Told
from services.notify.commands import SEND_JOB
from services.notify.rules.delivery import SendResult
from services.notify.sending import SendNotice
from shared.bus.jobs import JobRunner
from tests.support.agents import acted_for, born
from tests.support.hall import Hall, application, bearer
from tests.support.installation import Citizen

SERIALS = count(100)
STRANGERS = "13900009999"


class Gateway:
    """Takes every message, and remembers where it went."""

    name = "sms"
    address = "phone"
    has_receipts = True
    at_once = 50

    def __init__(self) -> None:
        self.sent: list[str] = []

    def send(self, message: OutsideMessage) -> Told:
        self.sent.append(message.address)
        return Told(SendResult.ACCEPTED, provider_ref="r-1")

    def ask(self, message: OutsideMessage, sent_on: date) -> Told:
        raise AssertionError("nothing is in doubt")

    def close(self) -> None:
        return


Numbers = Callable[[], set[str]]


@pytest.fixture
def numbers_told(hall: Hall) -> Iterator[Numbers]:
    """Hands on all facts and sends all text messages; the numbers that they went to since the last time."""
    context = hall.installation.context("notify")
    before = context.settings
    # What others left under way is not told here.
    hall.installation.pump()
    hall.installation.set_up_channels("sms")
    gateway = Gateway()
    runner = JobRunner(context, {f"{SEND_JOB}.sms": SendNotice(gateway, context.asker)})

    def told() -> set[str]:
        hall.installation.pump()
        while runner.run_once():
            continue
        sent, gateway.sent = gateway.sent, []
        return set(sent)

    told()
    yield told
    runner.close()
    context.settings = before


def granny(phone: str = "13800000011") -> dict[str, str]:
    """Somebody who has never been here."""
    return {"name": "老人", "id_number": born(1948, next(SERIALS)), "phone": phone}


def names(hall: Hall, headers: dict[str, str], who: dict[str, str], agent: Citizen) -> str:
    answer = hall.apply(headers, acted_for(who, agent, "elderly"))
    assert answer.status_code == 201, answer.text
    return str(answer.json()["number"])


def log_in(hall: Hall, who: dict[str, Any]) -> dict[str, str]:
    return bearer(hall.client.post("/dev/tokens/citizen", json=who).json()["token"])


def test_a_stranger_s_form_takes_no_notice_of_another_case(hall: Hall, numbers_told: Numbers) -> None:
    """The first form that names somebody used to say for ever how they are reached."""
    who = granny()
    stranger, headers = hall.citizen()
    names(hall, headers, {**who, "phone": STRANGERS}, stranger)
    assert numbers_told() == {STRANGERS, stranger.phone}
    daughter, headers = hall.citizen()
    names(hall, headers, who, daughter)
    assert numbers_told() == {who["phone"], daughter.phone}


def test_a_verified_number_comes_before_what_somebody_else_wrote(hall: Hall, numbers_told: Numbers) -> None:
    who = granny("13800000021")
    log_in(hall, who)
    stranger, headers = hall.citizen()
    names(hall, headers, {**who, "phone": STRANGERS}, stranger)
    assert numbers_told() == {who["phone"], stranger.phone}


def test_a_program_s_form_is_somebody_else_s_word_too(hall: Hall, numbers_told: Numbers) -> None:
    """A program files for whomever its form names; it used to replace their contacts for good."""
    who, _ = hall.citizen()
    program = hall.log_in("client", subject="super-app", channels=["app"])
    moved = Citizen(who.name, who.id_number, STRANGERS)
    sent = {**application(moved), "channel": "app"}
    assert hall.apply(program, sent).status_code == 201
    assert numbers_told() == {who.phone}


def test_one_s_own_word_holds_for_the_case_and_for_no_other(hall: Hall, numbers_told: Numbers) -> None:
    who, headers = hall.citizen()
    for phone in ("13811110001", "13811110002"):
        moved = Citizen(who.name, who.id_number, phone)
        assert hall.apply(headers, application(moved)).status_code == 201
        assert numbers_told() == {phone}
    # Somebody acts for them later: what they wrote into their own forms is not known there.
    program = hall.log_in("client", subject="super-app", channels=["app"])
    sent = {**application(Citizen(who.name, who.id_number, STRANGERS)), "channel": "app"}
    assert hall.apply(program, sent).status_code == 201
    assert numbers_told() == {who.phone}


def test_whom_a_counter_serves_gives_their_own_word(hall: Hall, numbers_told: Numbers) -> None:
    who, _ = hall.citizen()
    served = {"name": who.name, "id_number": who.id_number}
    counter = hall.log_in("operator", subject="window-7", channels=["counter"], acting_for=served)
    moved = Citizen(who.name, who.id_number, "13811110003")
    assert hall.apply(counter, {**application(moved), "channel": "counter"}).status_code == 201
    assert numbers_told() == {"13811110003"}


def test_an_agent_is_told_where_the_form_of_that_case_says(hall: Hall, numbers_told: Numbers) -> None:
    agent, headers = hall.citizen()
    told = Citizen(agent.name, agent.id_number, "13811110004")
    who = granny("13800000022")
    names(hall, headers, who, told)
    assert numbers_told() == {who["phone"], told.phone}


def test_nobody_s_contacts_change_because_a_form_names_them(hall: Hall) -> None:
    who, headers = hall.citizen()
    before = hall.installation.rows("SELECT * FROM intake.contact_points ORDER BY id")
    names(hall, headers, granny(STRANGERS), Citizen(who.name, who.id_number, "13811110005"))
    assert hall.installation.rows("SELECT * FROM intake.contact_points ORDER BY id") == before
