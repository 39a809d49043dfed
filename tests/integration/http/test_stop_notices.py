"""Whoever holds a number that others name is told little of it, and ends it with the code in the message."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from deploy.standins.launch import SmsStandin
from services.notify.channels import OutsideMessage, Told
from services.notify.channels.sms import SmsSettings, open_channel
from services.notify.commands import SEND_JOB
from services.notify.rules.delivery import SendResult
from services.notify.sending import SendNotice
from shared.bus.jobs import JobRunner
from shared.sections import LimitSettings, Section
from tests.support.agents import acted_for, born
from tests.support.hall import Hall, Headers, app_of, application, problem, session
from tests.support.installation import NO_LIMITS, Citizen

SERIALS = count(500)


class Gateway:
    """Takes every message."""

    name = "sms"
    address = "phone"
    has_receipts = True
    at_once = 50

    def __init__(self) -> None:
        self.sent: list[OutsideMessage] = []
        self.answers: list[Told] = []
        self.asked: list[OutsideMessage] = []

    def send(self, message: OutsideMessage) -> Told:
        self.sent.append(message)
        return self.answers.pop(0) if self.answers else Told(SendResult.ACCEPTED, provider_ref="r-1")

    def ask(self, message: OutsideMessage, sent_on: object) -> Told:
        self.asked.append(message)
        return Told(SendResult.ACCEPTED, provider_ref="r-1")

    def close(self) -> None:
        return


@pytest.fixture
def gateway(hall: Hall) -> Iterator[Gateway]:
    context = hall.installation.context("notify")
    before = context.settings
    # What others left under way is not told here.
    hall.installation.pump()
    hall.installation.set_up_channels("sms")
    yield Gateway()
    context.settings = before
    limit(hall, NO_LIMITS)


Tell = Callable[[], list[OutsideMessage]]


@pytest.fixture
def told(hall: Hall, gateway: Gateway) -> Iterator[Tell]:
    """Hands on all facts and sends all text messages; those since the last time."""
    runner = runner_of(hall, gateway)

    def tell() -> list[OutsideMessage]:
        send_all(hall, runner)
        sent, gateway.sent = gateway.sent, []
        return sent

    tell()
    yield tell
    runner.close()


def runner_of(hall: Hall, channel: Any) -> JobRunner:
    context = hall.installation.context("notify")
    return JobRunner(context, {f"{SEND_JOB}.sms": SendNotice(channel, context.asker)})


def send_all(hall: Hall, runner: JobRunner) -> None:
    hall.installation.pump()
    hall.installation.change("UPDATE notify.jobs SET due_at = due_at - interval '1 day'")
    while runner.run_once():
        continue


def limit(hall: Hall, limits: Section) -> None:
    for context in (app_of(hall).state.contexts["intake"], hall.installation.context("intake")):
        context.settings = context.settings.model_copy(update={"limits": limits})


def elder() -> dict[str, str]:
    """Somebody of 60 or more of whom nobody has heard."""
    serial = next(SERIALS)
    return {"name": "长者", "id_number": born(1948, serial), "phone": f"136{serial:08d}"}


def filed_about(hall: Hall, victim: dict[str, str], agent: tuple[Citizen, Headers] | None = None) -> str:
    who, headers = agent or hall.citizen()
    answer = hall.apply(headers, acted_for(victim, who, "elderly"))
    assert answer.status_code == 201, answer.text
    number: str = answer.json()["number"]
    return number


def stop(hall: Hall, code: str, **more: Any) -> Any:
    return hall.client.post("/api/v1/notices/stop", json={"code": code, **more})


def to(victim: dict[str, str], messages: list[OutsideMessage]) -> list[OutsideMessage]:
    return [message for message in messages if message.address == victim["phone"]]


@pytest.fixture(scope="module")
def standin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmsStandin]:
    """The stand-in of the gateway, over HTTP."""
    folder: Path = tmp_path_factory.mktemp("sms")
    made = SmsStandin(folder / "sms")
    made.start()
    yield made
    made.stop()


def test_150_applications_of_a_stranger_are_a_handful_of_messages(
    hall: Hall, gateway: Gateway, standin: SmsStandin
) -> None:
    limit(hall, LimitSettings())
    channel = open_channel(SmsSettings.model_validate(standin.settings()))
    victim = elder()
    agent, headers = hall.citizen()
    body = acted_for(victim, agent, "elderly")
    with ThreadPoolExecutor(4) as together:
        answers = list(together.map(lambda _: hall.apply(headers, body).status_code, range(150)))
    assert sorted(set(answers)) == [201, 429]
    runner = runner_of(hall, channel)
    send_all(hall, runner)
    runner.close()
    channel.close()
    # Both notices of each case are to both: the agent knows why.
    reached = [taken for taken in standin.taken() if taken.template.endswith(".unasked")]
    assert 1 <= len(reached) <= LimitSettings().unasked_notices
    assert all(taken.params["stop"] for taken in reached)
    assert len({taken.phone_hash for taken in standin.taken()}) == 2
    assert {taken.phone_hash for taken in reached} == {reached[0].phone_hash}


def test_a_number_is_told_so_much_a_day_whoever_names_it(hall: Hall, told: Tell) -> None:
    limit(hall, LimitSettings(unasked_notices=2, filings_about_one=100, filings_with_a_number=100))
    victim = elder()
    for _ in range(4):
        filed_about(hall, victim)
    other = {**elder(), "phone": victim["phone"]}
    filed_about(hall, other)
    assert len(to(victim, told())) == 2
    withheld = hall.installation.rows(
        "SELECT DISTINCT d.state, d.reason FROM notify.deliveries d JOIN intake.unasked_notices u "
        "ON u.delivery = d.id WHERE u.withheld"
    )
    assert [tuple(row) for row in withheld] == [("withheld", "limit")]


def test_one_s_own_case_at_one_s_own_number_is_told_without_end(hall: Hall, told: Tell) -> None:
    limit(hall, LimitSettings(unasked_notices=0))
    who, headers = hall.citizen()
    hall.apply(headers, application(who))
    messages = to({"phone": who.phone}, told())
    assert len(messages) >= 2
    assert {message.stop for message in messages} == {None}


def test_a_stranger_s_number_in_one_s_own_form_is_a_stranger_s(hall: Hall, told: Tell) -> None:
    victim = elder()
    who, headers = hall.citizen()
    form = {"applicant": {"name": who.name, "id_number": who.id_number, "phone": victim["phone"]}}
    hall.apply(headers, application(who, **form))
    assert all(message.stop for message in to(victim, told()))


def test_whoever_stops_a_case_is_told_nothing_more_of_it(hall: Hall, told: Tell) -> None:
    victim, agent = elder(), hall.citizen()
    number = filed_about(hall, victim, agent)
    code = to(victim, told())[0].stop
    assert code
    assert stop(hall, code.lower().replace("-", " ")).json() == {"stopped": "case"}
    applicant = hall.installation.value("SELECT applicant FROM intake.cases WHERE number = :n", n=number)
    assert tell_more(hall, told, number, victim) == []
    # In the hall itself it can still be read, by whom it concerns.
    own = hall.log_in_as(Citizen(**victim))
    assert hall.client.get("/api/v1/messages", headers=own).json()["messages"]
    assert applicant
    # Another case is another matter, with a code of its own.
    filed_about(hall, victim, agent)
    later = to(victim, told())
    assert later
    assert later[0].stop not in (None, code)


def tell_more(hall: Hall, told: Tell, number: str, victim: dict[str, str]) -> list[OutsideMessage]:
    """Let every message about a case be due once more; those to the number."""
    hall.installation.change(
        "UPDATE notify.deliveries SET state = 'planned' WHERE case_no = :n AND channel = 'sms'", n=number
    )
    hall.installation.change(
        "UPDATE notify.jobs SET state = 'due', finished_at = NULL, attempts = 0 WHERE case_no = :n", n=number
    )
    return to(victim, told())


def test_whoever_stops_everything_is_told_only_of_what_they_did(hall: Hall, told: Tell) -> None:
    victim = elder()
    filed_about(hall, victim)
    code = to(victim, told())[0].stop
    assert code
    assert stop(hall, code, everything=True).json() == {"stopped": "everything"}
    filed_about(hall, victim)
    assert to(victim, told()) == []
    own = hall.log_in_as(Citizen(**victim))
    hall.apply(own, application(Citizen(**victim)))
    assert to(victim, told())


def test_what_may_have_gone_is_asked_after_though_it_was_stopped(
    hall: Hall, told: Tell, gateway: Gateway
) -> None:
    victim = elder()
    gateway.answers = [Told(SendResult.UNKNOWN, "timeout")] * 4
    number = filed_about(hall, victim)
    code = next(message.stop for message in told() if message.address == victim["phone"])
    assert code
    stop(hall, code)
    told()
    asked = [message for message in gateway.asked if message.address == victim["phone"]]
    assert asked
    states = hall.installation.rows(
        "SELECT DISTINCT state FROM notify.deliveries WHERE case_no = :n AND channel = 'sms'", n=number
    )
    assert {row.state for row in states} == {"sent"}


@pytest.mark.usefixtures("fresh_lookups")
def test_a_code_that_is_none_is_a_miss_and_many_are_too_many(hall: Hall) -> None:
    answers = [problem(stop(hall, "BCDF-GHJK-LMNP")) for _ in range(21)]
    assert answers == [(404, "notice.stop-code-unknown")] * 20 + [(429, "case.too-many-lookups")]


@pytest.mark.usefixtures("fresh_lookups")
def test_the_page_stops_and_keeps_what_was_typed(hall: Hall, told: Tell) -> None:
    victim = elder()
    filed_about(hall, victim)
    code = to(victim, told())[0].stop
    wrong = hall.client.post("/stop", data={"code": "BCDF-GHJK", "what": "case"})
    assert wrong.status_code == 404
    assert 'value="BCDF-GHJK"' in wrong.text
    unsaid = hall.client.post("/stop", data={"code": code, "what": ""})
    assert (unsaid.status_code, f'value="{code}"' in unsaid.text) == (422, True)
    done = hall.client.post("/stop", data={"code": code, "what": "everything"})
    assert done.status_code == 200
    filed_about(hall, victim)
    assert to(victim, told()) == []


@pytest.mark.usefixtures("fresh_lookups")
def test_too_many_misses_on_a_page_keep_what_was_typed_too(hall: Hall) -> None:
    for _ in range(20):
        stop(hall, "BCDF-GHJK-LMNP")
    for path, typed in (("/stop", {"code": "BCDF", "what": "case"}), ("/lookup", {"number": "BCDF"})):
        answer = hall.client.post(path, data=typed, headers={"Accept": "text/html"})
        assert answer.status_code == 429
        assert answer.headers["retry-after"] == "600"
        assert 'value="BCDF"' in answer.text


def test_nobody_learns_whether_somebody_stopped(hall: Hall, told: Tell) -> None:
    victim, (agent, headers) = elder(), hall.citizen()
    number = filed_about(hall, victim, (agent, headers))
    code = to(victim, told())[0].stop
    assert code
    seen = []
    for act in (lambda: None, lambda: stop(hall, code, everything=True)):
        act()
        later = filed_about(hall, victim, (agent, headers))
        told()
        page = hall.client.get(f"/cases/{later}", headers={**session(headers), "Accept": "text/html"}).text
        case = hall.case(headers, later)
        seen.append((case["notified"], [line["fact"] for line in case["timeline"]], "withheld" in page))
    assert seen[0] == seen[1]
    assert number
