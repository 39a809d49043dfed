"""The doors of a whole installation in this process, and what tests knock with and look at."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import httpx
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from starlette.testclient import TestClient

from deploy.services import SERVICES
from shared.privacy.sealed_file import SealedFile
from tests.support.installation import HELD, Citizen, Installation

DEPARTMENTS = ["xihu-community", "xihu-police"]
A_PDF = b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\nstartxref\n9\n%%EOF\n"
WITHOUT_LEASE = tuple(code for code in HELD if code != "lease_record")
NOWHERE = "330106261123999999X"
"""A case number that nobody has."""
FORM = "application/x-www-form-urlencoded"
JSON = "application/json"
A_JPEG = b"\xff\xd8\xff\xc0\x00\x07\x08\x00\x01\x00\x01\xff\xda\x00\x02\xff\xd9"
"""As little as passes for a photograph: a frame of one pixel, a scan, an end."""
Headers = dict[str, str]


@dataclass
class Hall:
    """The service hall over HTTP."""

    installation: Installation
    client: TestClient
    internal: TestClient
    """What the services ask one another, and probes."""
    tokens: dict[str, str] = field(default_factory=dict)

    def citizen(self, certificates: tuple[str, ...] = tuple(HELD)) -> tuple[Citizen, dict[str, str]]:
        """Somebody who has logged in, with their headers."""
        who = self.installation.citizen(certificates)
        return who, self.log_in_as(who)

    def log_in_as(self, who: Citizen) -> dict[str, str]:
        """Headers of a person."""
        return self.log_in("citizen", **as_named(who))

    def officer(self, subject: str, departments: list[str] | None = None, **said: Any) -> dict[str, str]:
        """Headers of an officer, who is a person of their own unless it is said who they are."""
        return self.log_in("officer", subject=subject, departments=departments or DEPARTMENTS, **said)

    def log_in(self, kind: str, **body: Any) -> dict[str, str]:
        """Headers of somebody of any kind, as the development log-in takes them."""
        answer = self.client.post(f"/dev/tokens/{kind}", json=body)
        assert answer.status_code == 200, answer.text
        return bearer(answer.json()["token"])

    def apply(self, headers: dict[str, str], body: dict[str, Any], key: str | None = None) -> Any:
        """One submission."""
        sent = {**headers, "Idempotency-Key": key or str(uuid4())}
        return self.client.post("/api/v1/cases", headers=sent, json=body)

    def queue(self, officer: Headers) -> list[dict[str, Any]]:
        """All that an officer's queue shows, page by page: others' tests fill the first one."""
        found, cursor = [], ""
        while True:
            page = self.client.get(f"/api/v1/tasks?limit=100{cursor}", headers=officer).json()
            found += page["tasks"]
            if page["next"] is None:
                return found
            cursor = f"&cursor={page['next']}"

    def case(self, headers: dict[str, str], number: str) -> dict[str, Any]:
        """The citizen's view."""
        found: dict[str, Any] = self.client.get(f"/api/v1/cases/{number}", headers=headers).json()
        return found

    def counts(self) -> dict[str, int]:
        """Rows of every table, to see that nothing was written."""
        tables = self.installation.rows(
            "SELECT table_schema || '.' || table_name AS name FROM information_schema.tables "
            "WHERE table_schema = ANY(:schemas) AND table_type = 'BASE TABLE'",
            schemas=list(SERVICES),
        )
        return {row.name: self.installation.value(f"SELECT count(*) FROM {row.name}") for row in tables}


def as_named(who: Citizen) -> dict[str, str]:
    """As forms and the development log-in name somebody."""
    return {"name": who.name, "id_number": who.id_number, "phone": who.phone}


def application(who: Citizen, **changed: Any) -> dict[str, Any]:
    """A complete application; another one where one is open."""
    form = {
        "applicant": {"name": who.name, "id_number": who.id_number, "phone": who.phone},
        "residence": {"address": "文三路 1 号", "kind": "rented", "since": "2024-03-01"},
        "ground": "employment",
        "fetch_consent": True,
        **changed,
    }
    return {"matter": "residence_permit.apply", "form": form, "another": True}


def arrived(content: bytes) -> SealedFile:
    """A file that came in."""
    file = SealedFile()
    file.write(content)
    return file


def contents(hall: Hall) -> dict[str, int]:
    """A checksum of every table: each row's place and the transaction that wrote it. The witness's mark moves
    by the clock."""
    tables = hall.installation.rows(
        "SELECT table_schema || '.' || table_name AS name FROM information_schema.tables "
        "WHERE table_schema = ANY(:schemas) AND table_type = 'BASE TABLE' AND table_name <> 'witness'",
        schemas=[*SERVICES, "onestop"],
    )
    parts = [
        f"SELECT '{row.name}' AS name, "
        f"sum(hashtextextended(ctid::text || xmin::text, 0)) AS sum FROM {row.name}"
        for row in tables
    ]
    return {row.name: int(row.sum or 0) for row in hall.installation.rows(" UNION ALL ".join(parts))}


@contextmanager
def untouched(hall: Hall) -> Iterator[None]:
    """What is done in the block writes nothing."""
    before = contents(hall)
    yield
    after = contents(hall)
    changed = {name for name in after if after[name] != before[name]}
    assert not changed, f"written: {sorted(changed)}"


def problem(answer: httpx.Response) -> tuple[int, str]:
    """Status and code of a refusal, which must be problem+json in the language it says."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    body = answer.json()
    assert body["status"] == answer.status_code
    assert body["title"]
    assert body["type"] == f"/problems/{body['code']}"
    return answer.status_code, body["code"]


def keyed(headers: Mapping[str, str], key: str | None = None) -> Headers:
    """With an Idempotency-Key of its own."""
    return {**headers, "Idempotency-Key": key or str(uuid4())}


def bearer(token: str) -> Headers:
    """As programs log in."""
    return {"Authorization": f"Bearer {token}"}


def session(headers: Mapping[str, str]) -> Headers:
    """The same log-in as a browser has it."""
    return {"Cookie": f"onestop_session={headers['Authorization'].removeprefix('Bearer ')}"}


def hidden_field(hall: Hall, path: str, cookie: Mapping[str, str]) -> str:
    """The csrf_token of a page."""
    page = hall.client.get(path, headers=dict(cookie)).text
    found = re.search(r'name="csrf_token" value="([0-9a-f]{64})"', page)
    assert found is not None
    return found[1]


def upload(hall: Hall, headers: Headers, content: bytes = A_PDF) -> str:
    """The id of a file that this person gave."""
    sent = hall.client.post("/api/v1/uploads", headers=keyed(headers), files={"file": ("f", content)})
    found: str = sent.json()["id"]
    return found


def doors(app: FastAPI) -> list[tuple[str, str]]:
    """Method and path of every route, the development log-in's aside."""
    return sorted(
        (method, found.path)
        for found in iter_route_contexts(app.routes)
        for method in found.methods or ()
        if found.path and not found.path.startswith("/dev/")
    )


def app_of(hall: Hall) -> FastAPI:
    """The app behind the doors."""
    app = hall.client.app
    assert isinstance(app, FastAPI)
    return app


def same(first: httpx.Response, second: httpx.Response, *, but: Mapping[str, str]) -> None:
    """Two answers are the same to the byte, apart from the trace and the names that the requests brought."""

    def plain(answer: httpx.Response) -> tuple[int, str, dict[str, str]]:
        trace = answer.headers["x-trace-id"]
        body = answer.text.replace(trace, "")
        headers = {k: v for k, v in answer.headers.items() if k not in ("x-trace-id", "content-length")}
        for ours, theirs in but.items():
            body = body.replace(ours, theirs)
        return answer.status_code, body, headers

    assert plain(first) == plain(second)


def stuck(hall: Hall, number: str) -> list[int]:
    """Facts about a case that no service gets done with."""
    left = "SELECT count(*) FROM {}.inbox WHERE case_no = :n AND state <> 'done'"
    return [
        count for service in SERVICES if (count := hall.installation.value(left.format(service), n=number))
    ]
