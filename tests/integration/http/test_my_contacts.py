"""One's own contacts: added, verified by the code that comes, used, removed. By API and by page."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from itertools import count
from typing import Any
from uuid import uuid4

import pytest
from pydantic import SecretStr
from starlette.testclient import TestClient

from deploy.postgres import PostgresServer
from deploy.services import SERVICES
from deploy.web import build
from services.notify.channels import OutsideMessage, Told
from services.notify.rules.delivery import SendResult
from services.notify.sending import CODE_JOB, SendCode
from services.notify.templates import sms_params
from shared.bus.jobs import JobRunner
from shared.settings import Settings
from tests.support.contacts import can_send_codes
from tests.support.contract import check_answer
from tests.support.hall import Hall, Headers, bearer, hidden_field, keyed, problem, session, untouched
from tests.support.installation import Citizen, make_installation

NUMBERS = count(1)
API = "/api/v1/contacts"


@dataclass
class Gateway:
    """Takes what it is given as it was told to, and keeps it."""

    name: str = "sms"
    address: str = "phone"
    has_receipts: bool = True
    at_once: int = 50
    answers: list[Told] = field(default_factory=list)
    sent: list[OutsideMessage] = field(default_factory=list)

    def send(self, message: OutsideMessage) -> Told:
        assert sms_params(message.template, message.params) == message.params
        self.sent.append(message)
        return self.answers.pop(0) if self.answers else Told(SendResult.ACCEPTED, provider_ref="r-1")

    def ask(self, message: OutsideMessage, sent_on: date) -> Told:
        raise AssertionError("a code is never asked for")

    def close(self) -> None:
        return


@dataclass
class Codes:
    """The hall, and the phone on which codes arrive."""

    hall: Hall
    gateway: Gateway
    runner: JobRunner

    def deliver(self) -> list[OutsideMessage]:
        """Send what waits; what went out since the last time."""
        made = self.hall.installation
        made.change("UPDATE notify.jobs SET due_at = due_at - interval '1 day' WHERE state = 'due'")
        self.runner.run_once()
        sent, self.gateway.sent = self.gateway.sent, []
        return sent

    def code(self) -> str:
        """The one that came."""
        [message] = self.deliver()
        return message.params["code"]

    def add(self, headers: Headers, value: str, kind: str = "phone") -> Any:
        """Add a contact."""
        return self.hall.client.post(API, headers=keyed(headers), json={"kind": kind, "value": value})

    def verify(self, headers: Headers, contact: str, code: str) -> Any:
        """Type a code."""
        return self.hall.client.post(f"{API}/{contact}/verification", headers=headers, json={"code": code})

    def known(self, headers: Headers) -> list[dict[str, Any]]:
        """One's own contacts."""
        found: list[dict[str, Any]] = self.hall.client.get(API, headers=headers).json()["contacts"]
        return found


@pytest.fixture(scope="module")
def codes(
    postgres: PostgresServer, template_settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Codes]:
    """A hall in which phones are verified by code."""
    with make_installation(postgres, template_settings, tmp_path_factory.mktemp("codes"), None) as made:
        kinds = {"one_time_code": {"kinds": SecretStr("phone")}}
        settings = made.settings.model_copy(update={"dev_identity": True, "identity": kinds})
        apps = build(settings, SERVICES)
        with TestClient(apps.public, "https://hall.test", raise_server_exceptions=False) as client:
            client.event_hooks = {"response": [check_answer]}
            context, gateway = made.context("notify"), Gateway()
            made.context("intake")
            can_send_codes(made, "phone")
            runner = JobRunner(context, {f"{CODE_JOB}.phone": SendCode(gateway, context.asker)})
            yield Codes(Hall(made, client, TestClient(apps.internal)), gateway, runner)
            runner.close()


@pytest.fixture(autouse=True)
def nobody_is_logged_in(codes: Codes) -> Iterator[None]:
    yield
    codes.hall.client.cookies.clear()


def newcomer(codes: Codes) -> Headers:
    """Somebody who has no contact yet."""
    who = codes.hall.installation.citizen(())
    body = {"name": who.name, "id_number": who.id_number}
    codes.hall.installation.change("DELETE FROM intake.contact_points")
    return bearer(codes.hall.client.post("/dev/tokens/citizen", json=body).json()["token"])


def number() -> str:
    return f"136{next(NUMBERS):08d}"


def test_whoever_types_the_code_that_came_has_verified_their_phone(codes: Codes) -> None:
    headers, phone = newcomer(codes), number()
    made = codes.add(headers, f" {phone[:3]}-{phone[3:7]} {phone[7:]} ")
    assert made.status_code == 201
    contact = made.json()["id"]
    assert [(one["assurance"], one["used"]) for one in codes.known(headers)] == [("claimed", False)]
    [message] = codes.deliver()
    assert (message.address, message.template) == (phone, "one-time-code")
    answer = codes.verify(headers, contact, message.params["code"])
    assert answer.status_code == 200
    [known] = codes.known(headers)
    assert answer.json() == known
    assert (known["assurance"], known["used"]) == ("reached", True)
    assert known["shown"] == f"{phone[:3]}****{phone[-4:]}"


def test_what_is_sent_twice_makes_one_contact_and_one_message(codes: Codes) -> None:
    headers, phone, key = newcomer(codes), number(), str(uuid4())
    body = {"kind": "phone", "value": phone}
    sent = [codes.hall.client.post(API, headers=keyed(headers, key), json=body) for _ in range(3)]
    assert len({answer.text for answer in sent}) == 1
    assert len(codes.known(headers)) == 1
    assert len(codes.deliver()) == 1
    other = {"kind": "phone", "value": number()}
    again = codes.hall.client.post(API, headers=keyed(headers, key), json=other)
    assert problem(again) == (422, "idempotency.key-reused")


def test_a_wrong_code_is_counted_and_after_five_a_new_one_is_needed(codes: Codes) -> None:
    headers = newcomer(codes)
    contact = codes.add(headers, number()).json()["id"]
    code = codes.code()
    wrong = f"{(int(code) + 1) % 10**6:06}"
    for _ in range(5):
        refused = codes.verify(headers, contact, wrong)
        assert problem(refused) == (422, "contact.code-wrong")
        assert [error["pointer"] for error in refused.json()["errors"]] == ["/code"]
    assert problem(codes.verify(headers, contact, code)) == (409, "contact.code-over")


def test_another_code_within_the_minute_is_too_soon(codes: Codes) -> None:
    headers = newcomer(codes)
    contact = codes.add(headers, number()).json()["id"]
    codes.deliver()
    refused = codes.hall.client.post(f"{API}/{contact}/code", headers=keyed(headers))
    assert problem(refused) == (429, "contact.too-many-codes")
    assert refused.headers["retry-after"] == "60"
    assert codes.deliver() == []
    codes.hall.installation.change("UPDATE intake.one_time_codes SET made_at = made_at - interval '61 s'")
    answer = codes.hall.client.post(f"{API}/{contact}/code", headers=keyed(headers))
    assert answer.status_code == 202
    assert codes.verify(headers, contact, codes.code()).status_code == 200


@pytest.mark.parametrize("value", ["138OOI38OOO", "057187654321", "12", "张三", "a@b", "\u200b"])
def test_what_no_message_reaches_is_pointed_out(codes: Codes, value: str) -> None:
    headers = newcomer(codes)
    with untouched(codes.hall):
        refused = codes.add(headers, value)
    assert problem(refused) == (422, "contact.invalid")
    assert [error["pointer"] for error in refused.json()["errors"]] == ["/value"]


def test_a_kind_that_is_not_verified_here_is_not_taken(codes: Codes) -> None:
    headers = newcomer(codes)
    with untouched(codes.hall):
        refused = codes.add(headers, "a@example.org", "email")
    assert problem(refused) == (409, "contact.kind-not-verified")


def test_other_people_s_contacts_answer_as_if_they_were_not_there(codes: Codes) -> None:
    headers = newcomer(codes)
    theirs = codes.add(headers, number()).json()["id"]
    code = codes.code()
    stranger = bearer(
        codes.hall.client.post(
            "/dev/tokens/citizen", json=as_dev(codes.hall.installation.citizen(()))
        ).json()["token"]
    )
    client = codes.hall.client
    for contact in (theirs, str(uuid4())):
        for answer in (
            codes.verify(stranger, contact, code),
            client.post(f"{API}/{contact}/code", headers=keyed(stranger)),
            client.delete(f"{API}/{contact}", headers=stranger),
        ):
            assert problem(answer) == (404, "contact.not-found")
    assert codes.verify(headers, theirs, code).status_code == 200


def as_dev(who: Citizen) -> dict[str, str]:
    return {"name": who.name, "id_number": who.id_number}


def test_without_a_log_in_nobody_has_contacts(codes: Codes) -> None:
    client = codes.hall.client
    assert problem(client.get(API)) == (401, "auth.required")
    assert problem(client.post(API, json={"kind": "phone", "value": number()})) == (401, "auth.required")


def test_a_code_lets_nobody_in(codes: Codes) -> None:
    headers = newcomer(codes)
    contact = codes.add(headers, number()).json()["id"]
    before = codes.hall.installation.value("SELECT count(*) FROM intake.sessions")
    answer = codes.verify(headers, contact, codes.code())
    assert "set-cookie" not in answer.headers
    assert codes.hall.installation.value("SELECT count(*) FROM intake.sessions") == before


def test_removed_it_is_gone(codes: Codes) -> None:
    headers = newcomer(codes)
    contact = codes.add(headers, number()).json()["id"]
    assert codes.verify(headers, contact, codes.code()).status_code == 200
    left = codes.hall.client.delete(f"{API}/{contact}", headers=headers)
    assert (left.status_code, left.json()) == (200, {"contacts": []})
    assert codes.known(headers) == []
    assert problem(codes.hall.client.delete(f"{API}/{contact}", headers=headers)) == (
        404,
        "contact.not-found",
    )


def test_what_was_certainly_not_sent_is_sent_with_a_new_code(codes: Codes) -> None:
    headers = newcomer(codes)
    codes.gateway.answers = [Told(SendResult.NOT_SENT, "not-connected")]
    contact = codes.add(headers, number()).json()["id"]
    assert len(codes.deliver()) == 1
    assert codes.verify(headers, contact, codes.code()).status_code == 200


@pytest.mark.parametrize("answer", [SendResult.UNKNOWN, SendResult.REFUSED])
def test_what_may_have_been_sent_is_not_sent_again(codes: Codes, answer: SendResult) -> None:
    headers = newcomer(codes)
    codes.gateway.answers = [Told(answer, "in-doubt")]
    contact = codes.add(headers, number()).json()["id"]
    code = codes.code()
    assert codes.deliver() == []
    assert codes.verify(headers, contact, code).status_code == 200


def test_who_had_the_job_and_died_may_have_sent_it(codes: Codes) -> None:
    headers = newcomer(codes)
    codes.add(headers, number())
    codes.hall.installation.change(
        "UPDATE notify.jobs SET state = 'claimed', lease_until = due_at - interval '1 day' "
        "WHERE state = 'due'"
    )
    assert codes.deliver() == []
    assert codes.hall.installation.value("SELECT count(*) FROM notify.jobs WHERE state <> 'done'") == 0


def test_an_operator_verifies_the_phone_of_whom_they_serve_and_that_is_noted(codes: Codes) -> None:
    who = codes.hall.installation.citizen(())
    counter = codes.hall.log_in("operator", subject="window-1", channels=["counter"], acting_for=as_dev(who))
    contact = codes.add(counter, number()).json()["id"]
    assert codes.verify(counter, contact, codes.code()).status_code == 200
    notes = codes.hall.installation.rows("SELECT what FROM intake.person_reads WHERE reader = 'window-1'")
    assert [note.what for note in notes] == ["contacts", "contacts"]


def test_nothing_of_number_or_code_stands_in_the_open(codes: Codes) -> None:
    headers, phone = newcomer(codes), number()
    contact = codes.add(headers, phone).json()["id"]
    code = codes.code()
    codes.verify(headers, contact, code)
    for table in ("intake.contact_points", "intake.one_time_codes", "intake.idempotency_keys", "notify.jobs"):
        for row in codes.hall.installation.rows(f"SELECT to_jsonb(t)::text AS line FROM {table} AS t"):
            assert phone not in row.line
            assert f'"{code}"' not in row.line


def posted(codes: Codes, headers: Headers, path: str, **fields: str) -> Any:
    """A form of the page, as a browser sends it."""
    cookie = session(headers)
    token = hidden_field(codes.hall, "/contacts", cookie)
    data = {"csrf_token": token, "idempotency_key": str(uuid4()), **fields}
    return codes.hall.client.post(path, headers=cookie, data=data, follow_redirects=False)


def test_on_the_page_it_goes_the_same_way(codes: Codes) -> None:
    headers, phone = newcomer(codes), number()
    page = codes.hall.client.get("/contacts", headers=session(headers)).text
    assert "还没有联系方式" in page
    answer = posted(codes, headers, "/contacts", kind="phone", value=phone)
    assert answer.status_code == 303
    there = answer.headers["location"]
    shown = codes.hall.client.get(there, headers=session(headers)).text
    assert f"{phone[:3]}****{phone[-4:]}" in shown
    assert phone not in shown
    code = codes.code()
    wrong = posted(codes, headers, f"{there}/verification", code=f"{(int(code) + 1) % 10**6:06}")
    assert wrong.status_code == 422
    assert "验证码不正确，请核对。" in wrong.text
    assert posted(codes, headers, f"{there}/verification", code=code).headers["location"] == "/contacts"
    page = codes.hall.client.get("/contacts", headers=session(headers)).text
    assert "用于通知</strong>" in page
    assert posted(codes, headers, f"{there}/removal").headers["location"] == "/contacts"
    assert codes.known(headers) == []


def test_a_page_that_is_refused_keeps_what_was_typed(codes: Codes) -> None:
    headers = newcomer(codes)
    answer = posted(codes, headers, "/contacts", kind="phone", value="057187654321")
    assert answer.status_code == 422
    assert re.search(r'id="value"[^>]*value="057187654321"', answer.text)
    again = posted(codes, headers, "/contacts", kind="phone", value=number())
    assert again.status_code == 303
    too_soon = posted(codes, headers, f"{again.headers['location']}/code")
    assert too_soon.status_code == 429
    assert "验证码发送过于频繁" in too_soon.text
