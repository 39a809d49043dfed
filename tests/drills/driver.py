"""The people of a drill: applicants who repeat until they are answered, and officers who decide.

Every answer is on disk before anything else is done with it: the ledger is what was promised.
"""

import json
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx

from deploy.demo_scenarios import DEPARTMENTS, MATTER
from services.intake.rules.identity import check_character

A_PDF = b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\nstartxref\n9\n%%EOF\n"
_PAUSE_S = 0.2
_AGAIN = (409, 429, 503)
"""What a client repeats: under way still, too often, something is away. A 500 would be a bug."""


@dataclass(frozen=True, slots=True)
class Applicant:
    """One person who applies."""

    name: str
    id_number: str
    phone: str


def applicants(count: int) -> list[Applicant]:
    """People whose ID numbers pass the check; each has a day of birth and serial of their own."""
    found = []
    for n in range(count):
        first = f"330106{1950 + n // 336 % 50}{1 + n // 28 % 12:02d}{1 + n % 28:02d}{n % 1000:03d}"
        found.append(Applicant(f"受试{n}", first + check_character(first), f"139{n:08d}"))
    return found


class Ledger:
    """Append-only, synced before the next step."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8")
        self._lock = threading.Lock()
        self.attempted: set[str] = set()
        self.acknowledged: dict[str, str] = {}

    def attempt(self, key: str) -> None:
        """A request is about to leave."""
        with self._lock:
            self.attempted.add(key)
            self._write({"attempt": key})

    def answer(self, key: str, number: str) -> None:
        """A 2xx came back: from here on the case must exist."""
        with self._lock:
            self._write({"key": key, "number": number})
            before = self.acknowledged.setdefault(key, number)
            if before != number:
                self.acknowledged[f"{key}#again"] = number

    def _write(self, line: dict[str, str]) -> None:
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())


@dataclass(slots=True)
class Drivers:
    """All who use the hall during a drill."""

    url: str
    ledger: Ledger
    people: Sequence[Applicant]
    cases: int
    released: int = 0
    """How many of the cases may be under way already: the load lasts as long as the kills."""
    errors: list[str] = field(default_factory=list)
    """Answers that no client should get, whatever dies; the first few are told with the verdict."""
    stop: threading.Event = field(default_factory=threading.Event)
    _next: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self, applying: int = 4, deciding: int = 2) -> None:
        """Let them begin."""
        runs: list[Callable[[], None]] = [self._apply_all] * applying
        runs += [partial(self._decide_all, f"officer-{n}") for n in range(deciding)]
        self._threads = [threading.Thread(target=run, daemon=True) for run in runs]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """Send them home."""
        self.stop.set()
        for thread in self._threads:
            thread.join(30)

    def _apply_all(self) -> None:
        with httpx.Client(base_url=self.url, timeout=10, trust_env=False) as client:
            while not self.stop.is_set():
                with self._lock:
                    n, self._next = self._next, self._next + 1
                if n >= self.cases:
                    return
                while n >= self.released and not self.stop.wait(_PAUSE_S / 10):
                    continue
                self._apply(client, n)

    def _apply(self, client: httpx.Client, n: int) -> None:
        person = self.people[n % len(self.people)]
        identity = {"name": person.name, "id_number": person.id_number, "phone": person.phone}
        token = self._until(lambda: client.post("/dev/tokens/citizen", json=identity))["token"]
        has_gap = n % 5 == 0
        form = {
            "applicant": identity,
            "residence": {
                "address": "文三路 1 号",
                "kind": "employer" if has_gap else "rented",
                "since": "2024-03-01",
            },
            "ground": "employment",
            "fetch_consent": True,
        }
        key = str(uuid4())
        self.ledger.attempt(key)
        headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": key}
        body = {"matter": MATTER, "form": form, "another": True}
        answer = self._until(lambda: client.post("/api/v1/cases", headers=headers, json=body))
        self.ledger.answer(key, answer["number"])
        if has_gap:
            self._supply(client, token, answer["number"])

    def _supply(self, client: httpx.Client, token: str, number: str) -> None:
        bearer = {"Authorization": f"Bearer {token}"}
        while not self.stop.is_set():
            case = self._until(lambda: client.get(f"/api/v1/cases/{number}", headers=bearer))
            if case["state"] == "correction_required":
                break
            self.stop.wait(_PAUSE_S)
        file = {"file": ("statement.pdf", A_PDF, "application/pdf")}
        once = {**bearer, "Idempotency-Key": str(uuid4())}
        upload = self._until(lambda: client.post("/api/v1/uploads", headers=once, files=file))["id"]
        supply = {**bearer, "Idempotency-Key": str(uuid4())}
        body = {"uploads": {"employer_housing_statement": upload}}
        path = f"/api/v1/cases/{number}/supplements"
        self._until(lambda: client.post(path, headers=supply, json=body))

    def _decide_all(self, subject: str) -> None:
        identity = {"subject": subject, "departments": DEPARTMENTS}
        with httpx.Client(base_url=self.url, timeout=10, trust_env=False) as client:
            token = self._until(lambda: client.post("/dev/tokens/officer", json=identity))["token"]
            bearer = {"Authorization": f"Bearer {token}"}
            while not self.stop.is_set():
                page = self._until(lambda: client.get("/api/v1/tasks?limit=100", headers=bearer))
                for task in page["tasks"]:
                    self._decide(client, bearer, task)
                self.stop.wait(_PAUSE_S)

    def _decide(self, client: httpx.Client, bearer: dict[str, str], task: dict[str, Any]) -> None:
        # An officer who meets an error goes on with the next task; this one comes up again.
        try:
            path = f"/api/v1/tasks/{UUID(task['id'])}"
            claimed = client.post(f"{path}/claim", headers=bearer)
            if claimed.is_success:
                outcome = {"outcome": "approved" if task["decides"] else "passed"}
                seen = {**bearer, "If-Match": claimed.headers["etag"]}
                decided = client.post(f"{path}/decision", headers=seen, json=outcome)
                if decided.is_error and decided.status_code not in (409, 412, *_AGAIN):
                    self.errors.append(f"decision: {decided.status_code} {decided.text[:300]}")
        except httpx.HTTPError:
            self.stop.wait(_PAUSE_S)

    def _until(self, ask: Callable[[], httpx.Response]) -> dict[str, Any]:
        """Repeat as a client does: until a 2xx, with the same key."""
        while not self.stop.is_set():
            try:
                response = ask()
                if response.is_success:
                    found: dict[str, Any] = response.json()
                    return found
                if response.status_code not in _AGAIN:
                    self.errors.append(
                        f"{response.request.url.path}: {response.status_code} {response.text[:300]}"
                    )
            except httpx.HTTPError:
                pass
            self.stop.wait(_PAUSE_S)
        raise SystemExit
