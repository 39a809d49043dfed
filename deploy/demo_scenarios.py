"""People apply over the HTTP API, and an officer decides; then work is left for whoever looks. Nothing here
reaches behind the API."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from threading import Event
from typing import Any
from uuid import UUID, uuid4

import httpx

from deploy.demo_people import (
    EVERYTHING_HELD,
    OFFICER,
    ONE_GAP,
    SENDS_TWICE,
    TO_BE_DECIDED,
    TO_BE_REFUSED,
    TO_BE_VERIFIED,
    TO_SUPPLY,
    DemoPerson,
)

MATTER = "residence_permit.apply"
DEPARTMENTS = ["xihu-community", "xihu-police"]
_WHY_DENIED = "经核查，申请人在本市实际居住未满半年，不符合《居住证暂行条例》第二条。"
_STEP_S = 60.0
_POLL_S = 0.1
_A_PDF = b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\nstartxref\n9\n%%EOF\n"

Say = Callable[[str], None]


class ScenarioFailed(Exception):
    """A case did not go as its scenario says; the text tells which and how."""


@dataclass(slots=True)
class Hall:
    """The service hall as its users see it."""

    url: str
    say: Say
    stop: Event
    client: httpx.Client = field(init=False)
    numbers: set[str] = field(default_factory=set)
    query_codes: dict[str, str] = field(default_factory=dict)
    shown: set[tuple[str, ...]] = field(default_factory=set)
    first_number_at: float | None = None

    def __post_init__(self) -> None:
        self.client = httpx.Client(base_url=self.url, timeout=20, trust_env=False)

    def call(
        self,
        method: str,
        path: str,
        token: str | None,
        *,
        headers: Mapping[str, str] | None = None,
        **body: Any,
    ) -> httpx.Response:
        """One request that must succeed."""
        sent = {**({"Authorization": f"Bearer {token}"} if token else {}), **(headers or {})}
        response = self.client.request(method, path, headers=sent, **body)
        if response.is_error:
            raise ScenarioFailed(f"{method} {path} answered {response.status_code}: {response.text[:300]}")
        return response

    def log_in(self, person: DemoPerson) -> tuple[str, UUID]:
        """Token and person_ref of a citizen."""
        found = self.call("POST", "/dev/tokens/citizen", None, json=person.as_applicant()).json()
        return found["token"], UUID(found["person_ref"])

    def officer(self, subject: str) -> str:
        """Token of an officer of the demo's departments."""
        body = {"subject": subject, "name": subject, "departments": DEPARTMENTS}
        return str(self.call("POST", "/dev/tokens/officer", None, json=body).json()["token"])

    def apply(self, person: DemoPerson, token: str, channel: str, key: str | None = None) -> str:
        """Apply; the case number."""
        form = {
            "applicant": person.as_applicant(),
            "residence": {"address": person.address, "kind": "rented", "since": "2024-03-01"},
            "ground": "employment",
            "fetch_consent": True,
        }
        # Each run applies anew, while what the last one left may be open.
        body = {"matter": MATTER, "form": form, "channel": channel, "another": True}
        headers = {"Idempotency-Key": key or str(uuid4())}
        receipt = self.call("POST", "/api/v1/cases", token, headers=headers, json=body).json()
        number = str(receipt["number"])
        self.query_codes[number] = str(receipt["query_code"])
        self.first_number_at = self.first_number_at or time.time()
        again = "再次 again, " if key and number in self.numbers else ""
        self.numbers.add(number)
        self.say(f"{number}  {person.name} 提交申请 applied ({again}{channel})")
        return number

    def wait(self, number: str, token: str, done: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The case, once `done` says so; its timeline is shown as it grows."""
        until = time.monotonic() + _STEP_S
        while not self.stop.is_set():
            case: dict[str, Any] = self.call("GET", f"/api/v1/cases/{number}", token).json()
            self._show(number, case["timeline"])
            if done(case):
                return case
            if time.monotonic() > until:
                raise ScenarioFailed(f"{number} is still {case['state']} after {_STEP_S:.0f} s")
            self.stop.wait(_POLL_S)
        raise ScenarioFailed("interrupted")

    def supply(self, number: str, token: str, materials: list[str]) -> None:
        """Upload a file for each material and send all of them in one go."""
        uploads = {}
        for material in materials:
            files = {"file": (f"{material}.pdf", _A_PDF, "application/pdf")}
            headers = {"Idempotency-Key": str(uuid4())}
            given = self.call("POST", "/api/v1/uploads", token, headers=headers, files=files)
            uploads[material] = given.json()["id"]
        self.call(
            "POST",
            f"/api/v1/cases/{number}/supplements",
            token,
            headers={"Idempotency-Key": str(uuid4())},
            json={"uploads": uploads},
        )

    def handle(self, number: str, officer: str, outcome: str, reason: str = "") -> None:
        """Work every step of a case: pass it on, and at the deciding step end with `outcome`."""
        while not self.task_of(number, officer)["decides"]:
            self.end_step(number, officer, "passed")
        self.end_step(number, officer, outcome, reason)

    def end_step(self, number: str, officer: str, outcome: str, reason: str = "") -> None:
        """Claim the open task of a case and end it."""
        task = self.task_of(number, officer)
        claimed = self.call("POST", f"/api/v1/tasks/{task['id']}/claim", officer)
        self.call(
            "POST",
            f"/api/v1/tasks/{task['id']}/decision",
            officer,
            headers={"If-Match": claimed.headers["etag"]},
            json={"outcome": outcome, "reason": reason},
        )

    def task_of(self, number: str, officer: str) -> dict[str, Any]:
        """The open task of a case, once it is there."""
        until = time.monotonic() + _STEP_S
        while time.monotonic() < until and not self.stop.is_set():
            for task in self._queue(officer):
                if task["case"] == number:
                    return task
            self.stop.wait(_POLL_S)
        raise ScenarioFailed(f"no task for {number} came up")

    def _queue(self, officer: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        cursor: str | None = None
        while True:
            params = {"limit": "100", **({"cursor": cursor} if cursor else {})}
            page = self.call("GET", "/api/v1/tasks", officer, params=params).json()
            found += page["tasks"]
            cursor = page["next"]
            if cursor is None:
                return found

    def _show(self, number: str, timeline: list[dict[str, Any]]) -> None:
        for entry in timeline:
            # By what it says: what was said earlier elsewhere may come to its place in between.
            key = (number, entry["at"], entry["service"], entry["fact"])
            if key in self.shown:
                continue
            self.shown.add(key)
            # Each notice by each channel is on the case page; here it would hide everything else.
            if not entry["quiet"]:
                self.say(f"{number}  {entry['title_zh']} {entry['title_en']}")


def play(hall: Hall, tokens: Mapping[DemoPerson, str]) -> list[dict[str, Any]]:
    """Play the four scenarios; the cases as their citizens see them at the end. Raises ScenarioFailed."""
    officer = hall.officer(OFFICER)
    numbers = {
        EVERYTHING_HELD: hall.apply(EVERYTHING_HELD, tokens[EVERYTHING_HELD], "web"),
        ONE_GAP: hall.apply(ONE_GAP, tokens[ONE_GAP], "app"),
        TO_BE_REFUSED: hall.apply(TO_BE_REFUSED, tokens[TO_BE_REFUSED], "mini_program"),
    }
    key = str(uuid4())
    numbers[SENDS_TWICE] = hall.apply(SENDS_TWICE, tokens[SENDS_TWICE], "web", key)
    if hall.apply(SENDS_TWICE, tokens[SENDS_TWICE], "web", key) != numbers[SENDS_TWICE]:
        raise ScenarioFailed("the same Idempotency-Key made two cases")

    gap = numbers[ONE_GAP]
    asked = hall.wait(gap, tokens[ONE_GAP], lambda case: case["state"] == "correction_required")["asked"]
    hall.supply(gap, tokens[ONE_GAP], ["lease_contract"])
    for person, number in numbers.items():
        hall.wait(number, tokens[person], lambda case: case["state"] == "under_review")
        if person is TO_BE_REFUSED:
            hall.handle(number, officer, "denied", _WHY_DENIED)
        else:
            hall.handle(number, officer, "approved", "材料齐全，符合条件。")
    ended = [hall.wait(number, tokens[person], partial(_ended, person)) for person, number in numbers.items()]
    _check(dict(zip(numbers, ended, strict=True)), [item["material"] for item in asked])
    return ended


@dataclass(frozen=True, slots=True)
class LeftOver:
    """A case that waits for whoever looks at the demo: what is to be done, and who to log in as."""

    number: str
    what: str
    who: str


def leave_work(hall: Hall, tokens: Mapping[DemoPerson, str]) -> list[LeftOver]:
    """Three more cases: one to verify, one to decide, one for its citizen to go on with.

    Raises ScenarioFailed.
    """
    officer = hall.officer(OFFICER)
    numbers = {
        person: hall.apply(person, tokens[person], "web")
        for person in (TO_BE_VERIFIED, TO_BE_DECIDED, TO_SUPPLY)
    }
    decided, supply = numbers[TO_BE_DECIDED], numbers[TO_SUPPLY]
    hall.task_of(numbers[TO_BE_VERIFIED], officer)
    hall.end_step(decided, officer, "passed")
    while not hall.task_of(decided, officer)["decides"]:
        hall.stop.wait(_POLL_S)
    hall.wait(supply, tokens[TO_SUPPLY], lambda case: case["state"] == "correction_required")
    desk = f"工作人员 log in as officer {OFFICER}: {hall.url}/dev/login, {hall.url}/desk"
    return [
        LeftOver(numbers[TO_BE_VERIFIED], "等待核查 waits to be verified", desk),
        LeftOver(decided, "等待决定 waits to be decided", desk),
        LeftOver(
            supply,
            "等待申请人补充材料 waits for its applicant",
            f"申请人 log in as {TO_SUPPLY.name} {TO_SUPPLY.id_number}: {hall.url}/cases/{supply}",
        ),
    ]


def _told(person: DemoPerson, case: Mapping[str, Any], template: str) -> bool:
    found = [n for n in case["notified"] if n["template"] == template]
    return {n["channel"] for n in found} == person.channels and all(n["status"] == "sent" for n in found)


def _ended(person: DemoPerson, case: Mapping[str, Any]) -> bool:
    last = "certificate-issued" if case["outcome"] == "approved" else "case-denied"
    return case["closed_at"] is not None and all(_told(person, case, t) for t in (last, "case-accepted"))


def _check(cases: Mapping[DemoPerson, dict[str, Any]], asked: list[str]) -> None:
    whole, gap, refused, twice = (
        cases[person] for person in (EVERYTHING_HELD, ONE_GAP, TO_BE_REFUSED, SENDS_TWICE)
    )
    _must(whole["outcome"] == "approved" and whole["visits"] == 0, whole, "approved with 0 visits")
    _must(all(m["source"] == "certificate" for m in whole["materials"]), whole, "every material fetched")
    _must(_count(whole, "correction-required") == 0, whole, "nothing asked")
    _must(_count(gap, "correction-required") == 1, gap, "asked once")
    _must(asked == ["residence_proof"], gap, "asked for exactly what is missing")
    _must(gap["outcome"] == "approved", gap, "approved after the supply")
    _must(refused["outcome"] == "denied", refused, "refused")
    _must(bool(refused["reasons"]) and refused["remedies"] is not None, refused, "reason and remedy told")
    _must(twice["outcome"] == "approved", twice, "approved")


def _count(case: Mapping[str, Any], fact: str) -> int:
    return sum(entry["fact"] == fact for entry in case["timeline"])


def _must(holds: bool, case: Mapping[str, Any], what: str) -> None:
    if not holds:
        raise ScenarioFailed(f"{case['number']} should be: {what}; it is {case['state']} / {case['outcome']}")
