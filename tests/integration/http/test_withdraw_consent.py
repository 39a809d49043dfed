"""A consent is taken back: by its holder, or at a counter. Nothing more is read, the case says what is
missing, and a decision stands."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import httpx
import pytest

from services.approval.commands import StepResult
from shared.auth.principal import Assurance
from tests.integration.http.test_consent import DISABLED, acted_for_disabled
from tests.support.hall import (
    NOWHERE,
    Hall,
    Headers,
    application,
    as_named,
    bearer,
    hidden_field,
    keyed,
    problem,
    same,
    session,
    untouched,
)
from tests.support.installation import HELD, Citizen


def withdraw(hall: Hall, headers: Headers, number: str, *, act: str = "withdrawal") -> Any:
    return hall.client.post(f"/api/v1/cases/{number}/consent/{act}", headers=keyed(headers))


def at_counter(hall: Hall, serves: Citizen, *channels: str) -> Headers:
    return hall.log_in(
        "operator", subject="desk-9", channels=list(channels or ("counter",)), acting_for=as_named(serves)
    )


def note(hall: Hall, headers: Headers, number: str, role: str = "applicant") -> Any:
    return hall.client.post(
        f"/api/v1/cases/{number}/counter-withdrawals", headers=keyed(headers), json={"holder_role": role}
    )


def given(hall: Hall, headers: Headers, number: str) -> list[dict[str, Any]]:
    found = hall.client.get("/api/v1/consents/given", headers=headers).json()["consents"]
    return [one for one in found if one["number"] == number]


def uses(hall: Hall, number: str) -> int:
    counted = "SELECT count(*) FROM materials.use_records WHERE case_no = :n"
    return int(hall.installation.value(counted, n=number))


@pytest.fixture
def own(hall: Hall) -> tuple[Citizen, Headers, str]:
    """Somebody whose case is accepted on their certificates."""
    who, headers = hall.citizen()
    number = hall.apply(headers, application(who)).json()["number"]
    hall.installation.pump()
    assert hall.case(headers, number)["state"] == "under_review"
    return who, headers, number


def test_the_case_is_honest_about_it_and_goes_on_when_they_agree_again(
    hall: Hall, own: tuple[Citizen, Headers, str]
) -> None:
    _, headers, number = own
    before = uses(hall, number)
    (line,) = given(hall, headers, number)
    assert (line["state"], line["basis"], line["withdrawn_at"]) == ("stands", "own", None)
    answer = withdraw(hall, headers, number)
    assert (answer.status_code, answer.json()["number"]) == (200, number)
    hall.installation.pump()
    case = hall.case(headers, number)
    assert case["state"] == "under_review", "an accepted case stays accepted"
    assert {m["outcome"] for m in case["materials"]} == {"needs_consent"}
    assert {asked["material"] for asked in case["asked"]} == {m["material"] for m in case["materials"]}
    assert [line["fact"] for line in case["timeline"]].count("correction-required") == 0
    assert uses(hall, number) == before, "what was read before is on record, and nothing more is read"
    told = hall.client.get("/api/v1/messages", headers=headers).json()["messages"]
    assert [m["title"] for m in told if m["case"] == number].count("请补交材料：有持证人撤回了同意") == 1
    (line,) = given(hall, headers, number)
    assert (line["state"], line["withdrawn_at"]) == ("withdrawn", answer.json()["withdrawn_at"])
    assert withdraw(hall, headers, number, act="renewal").status_code == 200
    hall.installation.pump()
    case = hall.case(headers, number)
    assert (case["asked"], {m["outcome"] for m in case["materials"]}) == ([], {"matched"})
    assert [one["state"] for one in given(hall, headers, number)] == ["stands", "replaced"]


def test_officers_are_told_and_approve_nothing_meanwhile(
    hall: Hall, own: tuple[Citizen, Headers, str]
) -> None:
    _, headers, number = own
    hall.installation.work_task(number)
    hall.installation.pump()
    withdraw(hall, headers, number)
    task = str(hall.installation.value(OPEN_TASK, n=number))
    # Nobody else's tasks are on their page.
    officer = hall.officer(f"officer-{number}")
    hall.client.post(f"/api/v1/tasks/{task}/claim", headers=officer)
    # Approval has heard nothing yet: what it asks materials at the decision is heard of there.
    hall.installation.pump("materials")
    refused = approve(hall, officer, task)
    assert problem(refused) == (409, "decision.material-missing")
    hall.installation.pump()
    assert problem(approve(hall, officer, task)) == (409, "decision.material-missing")
    file = hall.client.get(f"/api/v1/tasks/{task}", headers=officer).json()
    assert file["asked"] != []
    assert {m["outcome"] for m in file["materials"]} == {"needs_consent"}
    (line,) = hall.client.get("/api/v1/tasks?mine=true", headers=officer).json()["tasks"]
    assert line["asked"] == file["asked"]
    page = hall.client.get(f"/desk/tasks/{task}", headers={**session(officer), "Accept": "text/html"}).text
    assert "持证人已撤回查询证照的同意" in page


OPEN_TASK = "SELECT id FROM approval.tasks WHERE case_no = :n AND state <> 'done'"


def approve(hall: Hall, officer: Headers, task: str) -> httpx.Response:
    seen = hall.client.get(f"/api/v1/tasks/{task}", headers=officer).headers["ETag"]
    answer: httpx.Response = hall.client.post(
        f"/api/v1/tasks/{task}/decision",
        headers={**officer, "If-Match": seen},
        json={"outcome": "approved"},
    )
    return answer


def test_what_is_brought_instead_completes_the_case(hall: Hall, own: tuple[Citizen, Headers, str]) -> None:
    _, headers, number = own
    withdraw(hall, headers, number)
    hall.installation.pump()
    hall.installation.supply(number, "id_card", "photo", "lease_contract", "labour_contract")
    hall.installation.pump()
    case = hall.case(headers, number)
    assert (case["state"], case["asked"]) == ("under_review", [])
    assert {m["outcome"] for m in case["materials"]} == {"self_provided"}


def test_a_decided_case_stays_decided(hall: Hall, own: tuple[Citizen, Headers, str]) -> None:
    """Also where the withdrawal was said before its decision was heard of."""
    _, headers, number = own
    for _ in range(2):
        hall.installation.work_task(number, StepResult.APPROVED if _ else StepResult.PASSED)
        if not _:
            hall.installation.pump()
    assert withdraw(hall, headers, number).status_code == 200, "intake has not heard of it"
    hall.installation.pump()
    case = hall.case(headers, number)
    assert (case["state"], case["outcome"], case["asked"]) == ("approved", "approved", [])
    assert case["closed_at"] is not None, "its certificate was issued"
    assert {m["outcome"] for m in case["materials"]} == {"matched"}, "what the decision rests on"
    for act in ("withdrawal", "renewal"):
        answer = withdraw(hall, headers, number, act=act)
        assert answer.status_code == 200 or problem(answer) == (409, "consent.over")


def test_before_it_is_matched_or_after_it_ends_the_same(hall: Hall) -> None:
    ends = []
    for wait in (False, True):
        who, headers = hall.citizen()
        number = hall.apply(headers, application(who)).json()["number"]
        if wait:
            hall.installation.pump("materials")
        withdraw(hall, headers, number)
        hall.installation.pump()
        case = hall.case(headers, number)
        ends.append(
            (
                case["state"],
                [asked["material"] for asked in case["asked"]],
                [(m["material"], m["outcome"], m["source"]) for m in case["materials"]],
            )
        )
    assert ends[0] == ends[1]


def test_a_holder_withdraws_what_they_agreed_to_and_what_a_proxy_did(hall: Hall) -> None:
    who, agents, headers, number = acted_for_disabled(hall, DISABLED)
    hall.client.post(f"/api/v1/cases/{number}/consent", headers=headers)
    hall.installation.pump()
    assert hall.case(agents, number)["state"] == "under_review"
    assert withdraw(hall, headers, number).status_code == 200
    hall.installation.pump()
    outcomes = {m["material"]: m["outcome"] for m in hall.case(agents, number)["materials"]}
    assert outcomes.pop("agent_id_card") == "matched", "the agent's consent is the agent's"
    assert set(outcomes.values()) == {"needs_consent"}
    again = hall.client.post(f"/api/v1/cases/{number}/consent", headers=headers)
    assert problem(again) == (409, "consent.withdrawn"), "a repeated request brings nothing back"
    waiting = hall.client.get("/api/v1/consents", headers=headers).json()["consents"]
    assert number not in {one["number"] for one in waiting}, "whoever said no is not asked again"
    assert who.name


def test_nobody_withdraws_for_somebody_else_nor_learns_of_them(hall: Hall) -> None:
    _, agents, headers, number = acted_for_disabled(hall, DISABLED)
    hall.client.post(f"/api/v1/cases/{number}/consent", headers=headers)
    _, strangers = hall.citizen()
    with untouched(hall):
        for act in ("withdrawal", "renewal"):
            answers = [withdraw(hall, strangers, name, act=act) for name in (number, NOWHERE)]
            for answer in answers:
                assert problem(answer) == (404, "case.not-found")
            same(answers[0], answers[1], but={number: NOWHERE})
        cookie = {**session(strangers), "Accept": "text/html"}
        pages = [hall.client.get(f"/cases/{name}/consent", headers=cookie) for name in (number, NOWHERE)]
        assert [page.status_code for page in pages] == [404, 404]
    assert withdraw(hall, agents, number).status_code == 200, "their own"
    (line,) = given(hall, headers, number)
    assert line["state"] == "stands"


def test_a_code_that_proves_a_phone_is_not_enough(hall: Hall, own: tuple[Citizen, Headers, str]) -> None:
    _, headers, number = own
    app = hall.client.app
    authenticator = app.state.authenticator  # type: ignore[attr-defined]
    known = authenticator.tokens.verify(headers["Authorization"].removeprefix("Bearer "))
    weak = bearer(authenticator.issue(replace(known, assurance=Assurance.REACHED), 600))
    with untouched(hall):
        answers = [withdraw(hall, weak, which) for which in (number, NOWHERE)]
        answers.append(hall.client.post(f"/api/v1/cases/{number}/consent", headers=weak))
    assert [problem(answer) for answer in answers] == [(403, "consent.not-verified")] * 3


def test_the_same_request_under_a_key_is_answered_once(hall: Hall, own: tuple[Citizen, Headers, str]) -> None:
    """Sent again after they agreed again, it takes nothing back."""
    _, headers, number = own
    key = keyed(headers)
    path = f"/api/v1/cases/{number}/consent/withdrawal"
    first = hall.client.post(path, headers=key)
    assert withdraw(hall, headers, number, act="renewal").status_code == 200
    assert hall.client.post(path, headers=key).json() == first.json()
    assert given(hall, headers, number)[0]["state"] == "stands"
    assert problem(hall.client.post(path, headers=headers)) == (400, "idempotency.key-missing")


def test_several_at_once_make_one(hall: Hall, own: tuple[Citizen, Headers, str]) -> None:
    _, headers, number = own
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: withdraw(hall, headers, number), range(4)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["withdrawn_at"] for answer in answers}) == 1
    said = hall.installation.value(
        "SELECT count(*) FROM intake.outbox WHERE case_no = :n AND event->>'type' LIKE '%consent-withdrawn%'",
        n=number,
    )
    assert said == 1


def test_what_was_never_given_is_not_taken_back(hall: Hall) -> None:
    _, _, headers, number = acted_for_disabled(hall, DISABLED)
    with untouched(hall):
        for act in ("withdrawal", "renewal"):
            assert problem(withdraw(hall, headers, number, act=act)) == (409, "consent.not-given")


def test_on_the_pages(hall: Hall, own: tuple[Citizen, Headers, str]) -> None:
    """The list, the consent with what follows from taking it back, and the way back; by keyboard alone."""
    _, headers, number = own
    cookie = {**session(headers), "Accept": "text/html"}
    assert f"/cases/{number}/consent" in hall.client.get("/consents", headers=cookie).text
    assert f"/cases/{number}/consent" in hall.client.get(f"/cases/{number}", headers=cookie).text
    path = f"/cases/{number}/consent"
    assert "撤回后" in hall.client.get(path, headers=cookie).text
    for act, then in (("withdrawal", "再次同意"), ("renewal", "撤回后")):
        sent = {
            "csrf_token": hidden_field(hall, path, cookie),
            "idempotency_key": keyed({})["Idempotency-Key"],
        }
        done = hall.client.post(f"{path}/{act}", headers=cookie, data=sent, follow_redirects=False)
        assert (done.status_code, done.headers["location"]) == (303, path)
        assert then in hall.client.get(path, headers=cookie).text


class TestAtACounter:
    def test_it_is_noted_with_both_identities_and_the_holder_is_told(self, hall: Hall) -> None:
        who, agents, headers, number = acted_for_disabled(hall, DISABLED)
        hall.client.post(f"/api/v1/cases/{number}/consent", headers=headers)
        assert note(hall, at_counter(hall, who), number).status_code == 200
        hall.installation.pump()
        holder = hall.installation.value("SELECT applicant FROM intake.cases WHERE number = :n", n=number)
        (kept,) = hall.installation.rows(
            "SELECT * FROM intake.consents WHERE case_no = :n AND holder = :h", n=number, h=holder
        )
        assert (kept.withdrawn_for, kept.withdrawn_by) == (holder, "desk-9")
        told = hall.client.get("/api/v1/messages", headers=headers).json()["messages"]
        assert [m["title"] for m in told if m["case"] == number].count("已登记撤回对查询证照的同意") == 1
        assert {asked["material"] for asked in hall.case(agents, number)["asked"]} >= {"id_card"}

    def test_only_for_the_holder_or_who_agreed_in_their_place(self, hall: Hall) -> None:
        who, _, headers, number = acted_for_disabled(hall, DISABLED)
        hall.client.post(f"/api/v1/cases/{number}/consent", headers=headers)
        stranger = hall.installation.citizen(HELD)
        for serves, role in ((stranger, "applicant"), (who, "agent"), (who, "nobody")):
            operator = at_counter(hall, serves)
            with untouched(hall):
                answers = [problem(note(hall, operator, which, role)) for which in (number, NOWHERE)]
            assert answers == [(404, "case.not-found")] * 2

    @pytest.mark.parametrize("channel", ["hotline", "kiosk"])
    def test_only_at_a_counter(self, hall: Hall, channel: str) -> None:
        who, _, _, number = acted_for_disabled(hall, DISABLED)
        operator = at_counter(hall, who, channel)
        with untouched(hall):
            answers = [problem(note(hall, operator, which)) for which in (number, NOWHERE)]
        assert answers == [(403, "consent.not-at-a-counter")] * 2
