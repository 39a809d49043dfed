"""The doors, as people meet them who want what is not theirs, or send what no client of ours would send.

One hall serves all of these; each test makes its own people and looks at its own cases. `untouched` compares
every table, so that "refused" means that nothing was written either.
"""

import asyncio
import base64
import hashlib
import hmac
import io
import json
import re
import time
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
import yaml
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from sqlalchemy import text
from starlette.testclient import TestClient

from deploy.catalogue import publish_matters
from deploy.postgres import PostgresServer
from deploy.services import SERVICES
from deploy.web import build
from services.intake.rules.identity import check_character
from shared.catalogue.loader import BUILT_IN
from shared.privacy.secret_files import SERVICE_TOKEN, SESSION_KEY, load_secret
from shared.settings import Settings
from tests.integration.test_http import A_PDF, WITHOUT_LEASE, Hall, application
from tests.support.installation import (
    MATTER,
    Citizen,
    make_installation,
    secrets_dir,
    template_settings,
    wait_for,
)

__all__ = ["secrets_dir", "template_settings"]

NO_AGENTS, OTHER_ROLE = "test.no_agents", "test.other_role"
"""The residence permit for whom nobody may act; and the same as built in, the agent being called a helper."""
NOWHERE = "330106261123999999X"
A_JPEG = b"\xff\xd8\xff\xc0\x00\x02\xff\xda\x00\x02\xff\xd9"
FORM = "application/x-www-form-urlencoded"
ELSEWHERE = {"Origin": "https://elsewhere.example", "Sec-Fetch-Site": "cross-site"}

Headers = dict[str, str]


@pytest.fixture(scope="module")
def hall(
    postgres: PostgresServer, template_settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Hall]:
    """The hall, with two more matters, as browsers reach it: over TLS."""
    scratch = tmp_path_factory.mktemp("abuse")
    with make_installation(postgres, template_settings, scratch, None) as db_installation:
        publish_matters(db_installation.settings, more_matters(scratch))
        settings = db_installation.settings.model_copy(update={"dev_identity": True})
        app = build(settings, SERVICES)
        with TestClient(app, "https://hall.test", raise_server_exceptions=False) as client:
            yield Hall(db_installation, client)


@pytest.fixture(scope="module")
def anybody(hall: Hall) -> tuple[Citizen, Headers]:
    """Somebody for the tests in which nothing comes of what is sent."""
    return hall.citizen()


@pytest.fixture(scope="module")
def open_task(hall: Hall) -> str:
    """A task that waits for an officer of xihu-community."""
    who, headers = hall.citizen()
    number = hall.apply(headers, application(who)).json()["number"]
    hall.installation.pump()
    return str(hall.installation.value("SELECT id FROM approval.tasks WHERE case_no = :n", n=number))


@pytest.fixture(autouse=True)
def no_cookies(hall: Hall) -> Iterator[None]:
    """A browser of one's own for each test."""
    yield
    hall.client.cookies.clear()


def more_matters(folder: Path) -> list[Path]:
    """Two variants of the built-in matter."""
    written = (BUILT_IN / f"{MATTER}.yaml").read_text("utf-8")
    helper = yaml.safe_load(written)
    helper["code"] = OTHER_ROLE
    helper["agent"]["role"] = "helper"
    helper["holders"]["helper"] = helper["holders"].pop("agent")
    for material in helper["materials"]:
        if material.get("holder_role") == "agent":
            material["holder_role"] = "helper"
    nobody = yaml.safe_load(written)
    nobody["code"] = NO_AGENTS
    del nobody["agent"]
    found = []
    for matter in (helper, nobody):
        path = folder / f"{matter['code']}.yaml"
        path.write_text(yaml.safe_dump(matter, allow_unicode=True, sort_keys=False), "utf-8")
        found.append(path)
    return found


def contents(hall: Hall) -> dict[str, int]:
    """A checksum of every table: each row's place and the transaction that wrote it."""
    tables = hall.installation.rows(
        "SELECT table_schema || '.' || table_name AS name FROM information_schema.tables "
        "WHERE table_schema = ANY(:schemas) AND table_type = 'BASE TABLE'",
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
    assert {name for name in after if after[name] != before[name]} == set()


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


def born(year: int, serial: int) -> str:
    """A valid ID number of somebody born in that year."""
    body = f"330106{year}0307{serial:03d}"
    return body + check_character(body)


def acted_for(
    applicant: Mapping[str, str], agent: Citizen, ground: str, matter: str = MATTER
) -> dict[str, Any]:
    """An application that `agent` brings for somebody else."""
    who = Citizen(applicant["name"], applicant["id_number"], applicant["phone"])
    relation = {"relation": "child", "ground": ground}
    person = {"name": agent.name, "id_number": agent.id_number, "phone": agent.phone, **relation}
    return {**application(who, agent=person), "matter": matter}


GRANNY = {"name": "老人", "id_number": born(1950, 7), "phone": "13800000001"}
GROWN_UP = {"name": "成人", "id_number": born(1985, 7), "phone": "13800000002"}


def under_review_by_agent(hall: Hall, matter: str = MATTER) -> tuple[str, Headers]:
    """An application that somebody brought for another, and supplied; its number and their log-in."""
    agent, headers = hall.citizen(("id_card",))
    sent = hall.apply(headers, acted_for(GRANNY, agent, "elderly", matter))
    assert sent.status_code == 201, sent.text
    number = sent.json()["number"]
    hall.installation.pump()
    case = hall.case(headers, number)
    # The agent's own card is one of the materials, and is read; the applicant's are asked for.
    assert {m["material"] for m in case["materials"] if m["source"]} == {"agent_id_card"}
    asked = {item["material"] for item in case["asked"]}
    assert asked == {"id_card", "photo", "residence_proof", "ground_proof"}
    files = {
        "id_card": A_PDF,
        "photo": A_JPEG,
        "lease_contract": A_PDF,
        "labour_contract": A_PDF,
    }
    body = {"uploads": {code: upload(hall, headers, content) for code, content in files.items()}}
    path = f"/api/v1/cases/{number}/supplements"
    assert hall.client.post(path, headers=keyed(headers), json=body).status_code == 202
    hall.installation.pump()
    assert hall.case(headers, number)["state"] == "under_review"
    return number, headers


@pytest.mark.parametrize("matter", [MATTER, OTHER_ROLE])
def test_an_agent_applies_follows_and_supplies(hall: Hall, matter: str) -> None:
    number, headers = under_review_by_agent(hall, matter)
    own = hall.client.get("/api/v1/cases", headers=headers).json()["cases"]
    assert number in {case["number"] for case in own}
    # The applicant sees it too.
    granny = hall.client.post("/dev/tokens/citizen", json=GRANNY).json()["token"]
    assert hall.case(bearer(granny), number)["number"] == number


@pytest.mark.parametrize("party", ["applicant", "agent"])
def test_no_officer_handles_an_application_that_concerns_themselves(hall: Hall, party: str) -> None:
    number, _ = under_review_by_agent(hall)
    person = str(hall.installation.value(f"SELECT {party} FROM intake.cases WHERE number = :n", n=number))
    task = hall.installation.value("SELECT id FROM approval.tasks WHERE case_no = :n", n=number)
    path = f"/api/v1/tasks/{task}/claim"
    officer = bearer(forged(hall, person_ref=person, departments=["xihu-community"]))
    with untouched(hall):
        assert problem(hall.client.post(path, headers=officer)) == (403, "decision.own-case")
    somebody_else = bearer(forged(hall, person_ref=str(uuid4()), departments=["xihu-community"]))
    assert hall.client.post(path, headers=somebody_else).status_code == 200


@pytest.mark.parametrize(
    ("applicant", "ground", "matter", "status", "code"),
    [
        # A healthy adult; an adult who is said to be a child or old.
        (GROWN_UP, "elderly", MATTER, 422, "case.agent-not-allowed"),
        (GROWN_UP, "under_16", MATTER, 422, "case.agent-not-allowed"),
        (GROWN_UP, "elderly", OTHER_ROLE, 422, "case.agent-not-allowed"),
        # Nobody may act here, so whoever else the form names is no reason to let them apply.
        (GRANNY, "elderly", NO_AGENTS, 403, "case.not-yours-to-file"),
    ],
)
def test_nobody_acts_for_whom_the_matter_does_not_say(
    hall: Hall,
    anybody: tuple[Citizen, Headers],
    applicant: dict[str, str],
    ground: str,
    matter: str,
    status: int,
    code: str,
) -> None:
    agent, headers = anybody
    with untouched(hall):
        assert problem(hall.apply(headers, acted_for(applicant, agent, ground, matter))) == (status, code)


def test_nobody_applies_for_others_without_being_named(hall: Hall) -> None:
    _, headers = hall.citizen()
    other, _ = hall.citizen()
    with untouched(hall):
        assert problem(hall.apply(headers, application(other))) == (403, "case.not-yours-to-file")
        third = hall.installation.people + 1_000
        named = acted_for(GRANNY, Citizen("第三人", born(1970, third % 1000), "13800000003"), "elderly")
        assert problem(hall.apply(headers, named)) == (403, "case.not-yours-to-file")


def test_whoever_names_somebody_does_not_change_how_they_are_reached(hall: Hall) -> None:
    """Who knows an ID number could otherwise have somebody else's notices sent to themselves."""
    victim, headers = hall.citizen()
    number = hall.apply(headers, application(victim)).json()["number"]
    person = str(hall.installation.value("SELECT applicant FROM intake.cases WHERE number = :n", n=number))
    old = Citizen("老者", born(1951, 99), "13812345678")
    body = {"name": old.name, "id_number": old.id_number, "phone": old.phone}
    attacker = bearer(hall.client.post("/dev/tokens/citizen", json=body).json()["token"])
    named = acted_for(body, Citizen(victim.name, victim.id_number, "13899999999"), "elderly")
    assert hall.apply(attacker, named).status_code == 201
    service = bearer(load_secret(hall.installation.settings, SERVICE_TOKEN).hex())
    asked = {"person": person, "case": number, "purpose": "test"}
    assert (
        hall.client.post("/internal/v1/contact", headers=service, json=asked).json()["phone"] == victim.phone
    )


def segment(value: object) -> str:
    """A part of a JWT."""
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def forged(hall: Hall, *, key: bytes | None = None, header: object = None, **changed: object) -> str:
    """A token made by hand: good for an officer but for what is changed."""
    now = int(time.time())
    claims: dict[str, object] = {
        "iss": "onestop",
        "aud": "onestop",
        "sub": "officer-1",
        "kind": "officer",
        "person_ref": None,
        "departments": ["xihu-police"],
        "name": "",
        "iat": now,
        "exp": now + 600,
    }
    head = segment(header if header is not None else {"alg": "HS256"})
    signed = f"{head}.{segment({**claims, **changed})}"
    secret = key if key is not None else load_secret(hall.installation.settings, SESSION_KEY)
    return f"{signed}.{segment(hmac.new(secret, signed.encode(), hashlib.sha256).digest())}"


def _changed_payload(hall: Hall) -> str:
    head, _, signature = forged(hall, kind="citizen").split(".")
    return f"{head}.{forged(hall).split('.')[1]}.{signature}"


FORGERIES: dict[str, tuple[Callable[[Hall], str], str]] = {
    "expired": (lambda h: forged(h, exp=int(time.time()) - 60), "auth.token-expired"),
    "another key": (lambda h: forged(h, key=b"\0" * 32), "auth.token-invalid"),
    "an empty key": (lambda h: forged(h, key=b""), "auth.token-invalid"),
    "no algorithm": (lambda h: forged(h, header={"alg": "none"}), "auth.token-invalid"),
    "no signature": (
        lambda h: forged(h, header={"alg": "none"}).rpartition(".")[0] + ".",
        "auth.token-invalid",
    ),
    "another algorithm": (lambda h: forged(h, header={"alg": "RS256"}), "auth.token-invalid"),
    "a key of its own": (
        lambda h: forged(
            h, key=b"x" * 32, header={"alg": "HS256", "jwk": {"kty": "oct", "k": segment(b"x" * 32)}}
        ),
        "auth.token-invalid",
    ),
    "a changed payload": (_changed_payload, "auth.token-invalid"),
    "a service's": (lambda h: forged(h, kind="service"), "auth.token-invalid"),
    "somebody else's audience": (lambda h: forged(h, aud="elsewhere"), "auth.token-invalid"),
    "no end": (lambda h: forged(h, exp=None), "auth.token-invalid"),
    "nested without end": (lambda h: f"{segment(b'[' * 2500)}.e30.e30", "auth.token-invalid"),
    "a header that is a list": (lambda h: forged(h, header=["HS256"]), "auth.token-invalid"),
    "a header that is a number": (lambda h: forged(h, header=7), "auth.token-invalid"),
    "not a token": (lambda h: "not-a-token", "auth.token-invalid"),
    "too many parts": (lambda h: forged(h) + ".e30.e30", "auth.token-invalid"),
    "too long": (lambda h: "a" * 5000, "auth.token-invalid"),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_log_in_is_none(hall: Hall, name: str) -> None:
    make, code = FORGERIES[name]
    token = make(hall)
    for headers in (bearer(token), {"Cookie": f"onestop_session={token}"}):
        answer = hall.client.get("/api/v1/tasks", headers=headers)
        assert problem(answer) == (401, code)
        assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    "header", ["Basic b2ZmaWNlcjox", "Bearer", "Bearer ", "bearer \u00ff\u00fe", "Token abc", "é"]
)
def test_what_is_no_bearer_token_is_401(hall: Hall, header: str) -> None:
    raw = [(b"authorization", header.encode("latin-1"))]
    answer = hall.client.get("/api/v1/tasks", headers=raw)
    assert problem(answer) == (401, "auth.token-invalid")


def test_the_forgeries_fail_for_what_is_forged_only(hall: Hall) -> None:
    assert hall.client.get("/api/v1/tasks", headers=bearer(forged(hall))).status_code == 200


OPEN_DOORS = {
    ("POST", "/api/v1/cases/lookup"),
    ("GET", "/api/v1/matters/{code}"),
    ("GET", "/"),
    ("GET", "/lookup"),
    ("POST", "/lookup"),
    ("POST", "/logout"),
    ("POST", "/preferences"),
    ("GET", "/problems"),
    ("GET", "/problems/{code}"),
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/metrics"),
}
"""What needs no log-in, besides the development log-in itself. Whoever adds one says so here."""


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


def asked_at(hall: Hall, method: str, path: str, headers: Headers) -> httpx.Response:
    """Knock, with something in every place of the path."""
    filled = re.sub(r"\{(\w+)\}", lambda m: NOWHERE if m[1] in ("number", "code") else str(uuid4()), path)
    answer: httpx.Response = hall.client.request(method, filled, headers=headers, follow_redirects=False)
    return answer


def test_every_door_is_for_one_kind(hall: Hall) -> None:
    """Nobody, citizens and officers at each door there is: one of them may be let in at most."""
    _, citizen = hall.citizen()
    people = {"nobody": {}, "citizen": citizen, "officer": hall.officer("officer-1")}
    found = doors(app_of(hall))
    assert len(found) > 25
    wrong = []
    for method, path in found:
        refused = {
            who: answer.status_code
            for who, headers in people.items()
            if (answer := asked_at(hall, method, path, keyed(headers))).status_code in (401, 403)
        }
        expected = {"nobody": 401}
        if path.startswith("/internal/"):
            expected |= {"citizen": 403, "officer": 403}
        elif path.startswith(("/desk", "/api/v1/tasks")):
            expected |= {"citizen": 403}
        else:
            expected |= {"officer": 403}
        if refused != ({} if (method, path) in OPEN_DOORS else expected):
            wrong.append((method, path, refused))
    assert wrong == []


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


CITIZENS_DOORS = [
    ("GET", "/api/v1/cases/{}", {}),
    ("POST", "/api/v1/cases/{}/supplements", {"json": {"uploads": {"lease_contract": str(UUID(int=1))}}}),
    ("GET", "/cases/{}", {"headers": {"Accept": "text/html"}}),
    (
        "POST",
        "/cases/{}/supply",
        {"headers": {"Accept": "text/html"}, "data": {"idempotency_key": str(UUID(int=2))}},
    ),
]


@pytest.mark.parametrize(("method", "path", "options"), CITIZENS_DOORS)
def test_other_peoples_cases_are_not_there(
    hall: Hall, method: str, path: str, options: dict[str, Any]
) -> None:
    who, headers = hall.citizen(WITHOUT_LEASE)
    number = hall.apply(headers, application(who)).json()["number"]
    hall.installation.pump()
    _, other = hall.citizen()
    sent = {**options, "headers": {**keyed(other), **options.get("headers", {})}}
    with untouched(hall):
        theirs = hall.client.request(method, path.format(number), **sent)
        nothing = hall.client.request(method, path.format(NOWHERE), **sent)
    assert nothing.status_code == 404
    same(theirs, nothing, but={number: NOWHERE})


def test_other_peoples_uploads_are_not_there(hall: Hall) -> None:
    _, owner = hall.citizen()
    file = upload(hall, owner)
    assert hall.client.get(f"/api/v1/uploads/{file}", headers=owner).content == A_PDF
    who, other = hall.citizen(WITHOUT_LEASE)
    nothing = str(uuid4())
    with untouched(hall):
        answers = [hall.client.get(f"/api/v1/uploads/{name}", headers=other) for name in (file, nothing)]
        assert problem(answers[1]) == (404, "upload.not-found")
        same(*answers, but={})
        bodies = [{**application(who), "uploads": {"lease_contract": name}} for name in (file, nothing)]
        answers = [hall.apply(other, body) for body in bodies]
        assert problem(answers[1]) == (422, "case.upload-not-yours")
        same(*answers, but={})


OFFICERS_DOORS = [
    ("GET", "/api/v1/tasks/{}", {}),
    ("POST", "/api/v1/tasks/{}/claim", {}),
    ("POST", "/api/v1/tasks/{}/release", {}),
    ("POST", "/api/v1/tasks/{}/decision", {"json": {"outcome": "approved"}}),
    ("POST", "/api/v1/tasks/{}/decision", {"json": {"outcome": "denied"}}),
    ("GET", "/desk/tasks/{}", {"headers": {"Accept": "text/html"}}),
    ("GET", f"/desk/tasks/{{}}/uploads/{UUID(int=1)}", {"headers": {"Accept": "text/html"}}),
    ("POST", "/desk/tasks/{}/claim", {}),
    ("POST", "/desk/tasks/{}/decision", {"data": {"outcome": "passed", "if_match": "1"}}),
]


@pytest.mark.parametrize(("method", "path", "options"), OFFICERS_DOORS)
def test_other_departments_tasks_are_not_there(
    hall: Hall, open_task: str, method: str, path: str, options: dict[str, Any]
) -> None:
    stranger = hall.officer("stranger", ["xihu-police"])
    sent = {**options, "headers": {**stranger, **options.get("headers", {})}}
    nowhere = str(uuid4())
    with untouched(hall):
        theirs = hall.client.request(method, path.format(open_task), **sent)
        nothing = hall.client.request(method, path.format(nowhere), **sent)
    assert nothing.status_code == 404
    same(theirs, nothing, but={open_task: nowhere})


def test_a_file_of_another_case_is_not_there_for_the_officer(hall: Hall) -> None:
    cases = []
    for _ in range(2):
        who, headers = hall.citizen(WITHOUT_LEASE)
        file = upload(hall, headers)
        body = {**application(who), "uploads": {"lease_contract": file}}
        cases.append((hall.apply(headers, body).json()["number"], file))
    hall.installation.pump()
    (number, own), (_, other) = cases
    task = str(hall.installation.value("SELECT id FROM approval.tasks WHERE case_no = :n", n=number))
    officer = hall.officer("officer-1")
    assert hall.client.get(f"/desk/tasks/{task}/uploads/{own}", headers=officer).content == A_PDF
    nothing = str(uuid4())
    with untouched(hall):
        answers = [
            hall.client.get(f"/desk/tasks/{task}/uploads/{name}", headers=officer)
            for name in (other, nothing)
        ]
    assert problem(answers[1]) == (404, "upload.not-found")
    same(*answers, but={})


@pytest.fixture
def fresh_lookups(hall: Hall) -> Iterator[None]:
    """Misses of one test do not count in the next: all of them come from one address."""
    yield
    hall.installation.change("DELETE FROM intake.lookup_misses")


@pytest.mark.usefixtures("fresh_lookups")
def test_a_wrong_code_is_like_a_wrong_number_until_nobody_may_guess(hall: Hall) -> None:
    who, headers = hall.citizen()
    receipt = hall.apply(headers, application(who)).json()
    right = {"number": receipt["number"], "query_code": receipt["query_code"]}
    wrong_code = {**right, "query_code": "0" * 32}
    wrong_number = {**wrong_code, "number": NOWHERE}
    # Somebody else's code is worth nothing here.
    other, others = hall.citizen()
    their_code = {**right, "query_code": hall.apply(others, application(other)).json()["query_code"]}
    answers = [
        hall.client.post("/api/v1/cases/lookup", json=b) for b in (wrong_code, wrong_number, their_code)
    ]
    assert problem(answers[0]) == (404, "case.not-found")
    for answer in answers[1:]:
        same(answers[0], answer, but={})
    for n in range(17):
        hall.client.post("/api/v1/cases/lookup", json={**right, "query_code": f"{n:032x}"})
    # Now nothing tells a right code from a wrong one, and the citizen who has logged in is not shut out.
    with untouched(hall):
        answers = [hall.client.post("/api/v1/cases/lookup", json=body) for body in (right, wrong_code)]
    assert problem(answers[0]) == (429, "case.too-many-lookups")
    assert int(answers[0].headers["retry-after"]) > 0
    same(*answers, but={})
    assert hall.case(headers, receipt["number"])["number"] == receipt["number"]


def page_doors(hall: Hall) -> list[str]:
    """Every form of a page."""
    outside = ("/api/", "/internal/")
    return [path for method, path in doors(app_of(hall)) if method == "POST" and not path.startswith(outside)]


def test_no_form_of_another_site_is_taken(hall: Hall) -> None:
    _, citizen = hall.citizen()
    officer = hall.officer("officer-1")
    taken = []
    with untouched(hall):
        for path in [*page_doors(hall), "/dev/login", "/dev/login/citizen"]:
            cookie = session(officer if path.startswith("/desk") else citizen)
            name = re.sub(r"\{\w+\}", str(uuid4()), path)
            data = {"person": "officer-1", "name": "测试", "id_number": GRANNY["id_number"]}
            answer = hall.client.post(
                name, headers={**cookie, **ELSEWHERE}, data=data, follow_redirects=False
            )
            if answer.status_code != 403 or answer.json()["code"] != "auth.csrf-failed":
                taken.append((path, answer.status_code))
            assert "set-cookie" not in answer.headers
    assert len(page_doors(hall)) > 5
    assert taken == []


@pytest.mark.parametrize("kind", ["missing", "wrong", "another session's", "in the address", "empty"])
def test_a_form_needs_the_field_of_its_own_session(hall: Hall, open_task: str, kind: str) -> None:
    officer = session(hall.officer("officer-1"))
    other = session(hall.officer("officer-2"))
    path = f"/desk/tasks/{open_task}"
    own = hidden_field(hall, path, officer)
    sent = {
        "missing": {},
        "wrong": {"csrf_token": "0" * 64},
        "another session's": {"csrf_token": hidden_field(hall, path, other)},
        "in the address": {},
        "empty": {"csrf_token": ""},
    }[kind]
    query = f"?csrf_token={own}" if kind == "in the address" else ""
    with untouched(hall):
        answer = hall.client.post(f"{path}/claim{query}", headers=officer, data=sent)
        assert problem(answer) == (403, "auth.csrf-failed")
    done = hall.client.post(
        f"{path}/claim", headers=officer, data={"csrf_token": own}, follow_redirects=False
    )
    assert done.status_code == 303


@pytest.mark.parametrize("media_type", ["application/json", "text/plain", FORM, None])
def test_a_cookie_alone_sends_nothing_to_the_api(
    hall: Hall, anybody: tuple[Citizen, Headers], media_type: str | None
) -> None:
    who, headers = anybody
    sent = {**keyed(session(headers)), **({"Content-Type": media_type} if media_type else {})}
    with untouched(hall):
        answer = hall.client.post(
            "/api/v1/cases", headers=sent, content=json.dumps(application(who)).encode()
        )
        assert problem(answer)[0] in (403, 415)


@pytest.fixture(scope="module")
def locked(hall: Hall) -> Iterator[TestClient]:
    """The same installation without the development log-in, as in production."""
    with TestClient(build(hall.installation.settings, SERVICES), "https://hall.test") as client:
        yield client


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/dev/tokens/citizen"),
        ("POST", "/dev/tokens/officer"),
        ("GET", "/dev/login"),
        ("POST", "/dev/login"),
        ("POST", "/dev/login/citizen"),
    ],
)
def test_the_development_log_in_is_not_there_when_off(
    hall: Hall, locked: TestClient, method: str, path: str
) -> None:
    with untouched(hall):
        answer = locked.request(method, path, json={"subject": "x", "departments": ["xihu-police"]})
    assert problem(answer) == (404, "resource.not-found")
    same(answer, locked.request(method, "/dev/nothing"), but={})


def test_cookies_are_kept_from_scripts_other_sites_and_plain_http(hall: Hall) -> None:
    own = {"Origin": "https://hall.test"}
    log_in = hall.client.post("/dev/login", headers=own, data={"person": "officer-1"}, follow_redirects=False)
    choice = hall.client.post("/preferences", headers=own, data={"lang": "en"}, follow_redirects=False)
    log_out = hall.client.post("/logout", headers=own, follow_redirects=False)
    for answer in (log_in, choice, log_out):
        assert answer.status_code == 303
        flags = {part.strip().lower() for part in answer.headers["set-cookie"].split(";")[1:]}
        assert {"httponly", "samesite=lax", "secure", "path=/"} <= flags
        assert not any(flag.startswith("domain") for flag in flags)


def test_without_tls_the_cookie_is_not_secure_by_setting_only(hall: Hall) -> None:
    web = hall.installation.settings.web.model_copy(update={"cookie_secure": False})
    settings = hall.installation.settings.model_copy(update={"dev_identity": True, "web": web})
    client = TestClient(build(settings, SERVICES))
    answer = client.post("/dev/login", data={"person": "officer-1"}, follow_redirects=False)
    assert "secure" not in answer.headers["set-cookie"].lower()
    assert "httponly" in answer.headers["set-cookie"].lower()


def test_while_the_first_runs_the_second_is_told_so_and_later_gets_its_answer(hall: Hall) -> None:
    who, headers = hall.citizen()
    key, body = str(uuid4()), application(who)
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'intake.cases'::regclass"
    with ThreadPoolExecutor(1) as pool:
        with hall.installation.admin.begin() as connection:
            # The first holds its key, and cannot insert its case.
            connection.execute(text("LOCK TABLE intake.cases IN SHARE MODE"))
            first = pool.submit(hall.apply, headers, body, key)
            wait_for(lambda: hall.installation.value(waiting) == 1, "the first request stands at the lock", 4)
            assert problem(hall.apply(headers, body, key)) == (409, "idempotency.still-running")
            # The key is this person's: the same key of somebody else is another one.
            assert (
                hall.installation.value("SELECT count(*) FROM intake.idempotency_keys WHERE key = :k", k=key)
                == 0
            )
        done = first.result()
    assert done.status_code == 201
    again = hall.apply(headers, body, key)
    assert (again.status_code, again.json()) == (201, done.json())
    mine = hall.client.get("/api/v1/cases", headers=headers).json()["cases"]
    assert [case["number"] for case in mine] == [done.json()["number"]]


def test_a_key_is_its_owners(hall: Hall) -> None:
    key = str(uuid4())
    numbers = set()
    for _ in range(2):
        who, headers = hall.citizen()
        numbers.add(hall.apply(headers, application(who), key).json()["number"])
    assert len(numbers) == 2


def test_a_refused_request_leaves_its_key_free(hall: Hall) -> None:
    who, headers = hall.citizen()
    key = str(uuid4())
    with untouched(hall):
        assert hall.apply(headers, application(who, ground="none"), key).status_code == 422
    assert hall.apply(headers, application(who), key).status_code == 201


@pytest.mark.parametrize(
    "key",
    [
        b"",
        b"short",
        b"x" * 129,
        b"has a blank in it",
        b"line\r\nSet-Cookie: onestop_session=x",
        b"line\nX-Other: 1",
        b"nul\x00nul\x00nul",
        "ключ-ключ".encode(),
    ],
)
def test_a_strange_key_is_refused_and_never_repeated(
    hall: Hall, anybody: tuple[Citizen, Headers], key: bytes
) -> None:
    who, headers = anybody
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    with untouched(hall):
        answer = hall.client.post(
            "/api/v1/cases", headers=[*raw, (b"idempotency-key", key)], json=application(who)
        )
    assert problem(answer) == (400, "idempotency.key-missing")
    assert "set-cookie" not in answer.headers
    assert "x-other" not in answer.headers


def stuck(hall: Hall, number: str) -> list[int]:
    """Facts about a case that no service gets done with."""
    left = "SELECT count(*) FROM {}.inbox WHERE case_no = :n AND state <> 'done'"
    return [
        count for service in SERVICES if (count := hall.installation.value(left.format(service), n=number))
    ]


def test_supplying_twice_before_anybody_looked_holds_nothing_up(hall: Hall) -> None:
    who, headers = hall.citizen(WITHOUT_LEASE)
    number = hall.apply(headers, application(who)).json()["number"]
    hall.installation.pump()
    path = f"/api/v1/cases/{number}/supplements"
    answers = []
    for _ in range(2):
        body = {"uploads": {"lease_contract": upload(hall, headers)}}
        answers.append(hall.client.post(path, headers=keyed(headers), json=body))
    assert answers[0].status_code == 202
    assert problem(answers[1]) == (409, "case.nothing-asked")
    hall.installation.pump()
    assert hall.case(headers, number)["state"] == "under_review"
    assert stuck(hall, number) == []


def test_a_certificate_that_ends_while_something_else_is_supplied(hall: Hall) -> None:
    """Nobody can be asked a second time, so the case goes on; but nothing is approved on what has ended."""
    who, headers = hall.citizen(WITHOUT_LEASE)
    number = hall.apply(headers, application(who)).json()["number"]
    hall.installation.pump()
    person = hall.installation.value("SELECT applicant FROM intake.cases WHERE number = :n", n=number)
    hall.installation.change(
        "UPDATE materials.certificates SET state = 'revoked' WHERE holder = :p AND type_code = 'id_card'",
        p=person,
    )
    body = {"uploads": {"lease_contract": upload(hall, headers)}}
    path = f"/api/v1/cases/{number}/supplements"
    assert hall.client.post(path, headers=keyed(headers), json=body).status_code == 202
    hall.installation.pump()
    assert hall.case(headers, number)["state"] == "under_review"
    assert stuck(hall, number) == []
    hall.installation.work_task(number)
    hall.installation.pump()
    officer = hall.officer("officer-1")
    task = str(
        hall.installation.value("SELECT id FROM approval.tasks WHERE case_no = :n AND decides", n=number)
    )
    claimed = hall.client.post(f"/api/v1/tasks/{task}/claim", headers=officer)
    seen = {**officer, "If-Match": claimed.headers["etag"]}
    answer = hall.client.post(f"/api/v1/tasks/{task}/decision", headers=seen, json={"outcome": "approved"})
    assert problem(answer) == (409, "decision.certificate-lost")
    assert answer.json()["materials"] == ["id_card"]


def test_of_two_missing_materials_one_is_not_enough_and_nobody_is_asked_again(hall: Hall) -> None:
    who, headers = hall.citizen(("id_card", "social_insurance_record"))
    number = hall.apply(headers, application(who)).json()["number"]
    hall.installation.pump()
    path = f"/api/v1/cases/{number}/supplements"

    def supply(code: str, content: bytes) -> httpx.Response:
        body = {"uploads": {code: upload(hall, headers, content)}}
        answer: httpx.Response = hall.client.post(path, headers=keyed(headers), json=body)
        hall.installation.pump()
        return answer

    told = hall.client.get("/api/v1/messages", headers=headers).json()["messages"]
    with_first = supply("photo", A_JPEG)
    assert (with_first.status_code, with_first.json()["supplied"]) == (202, ["photo"])
    case = hall.case(headers, number)
    assert case["state"] == "correction_required"
    assert hall.client.get("/api/v1/messages", headers=headers).json()["messages"] == told
    # What was not asked for, and a file of the wrong type, change nothing.
    with untouched(hall):
        sent = {"uploads": {"labour_contract": str(UUID(int=1))}}
        assert problem(hall.client.post(path, headers=keyed(headers), json=sent))[0] == 422
    assert problem(supply("labour_contract", A_PDF)) == (422, "case.material-not-asked")
    assert problem(supply("photo", A_PDF)) == (422, "case.upload-type-wrong")
    assert supply("lease_contract", A_PDF).status_code == 202
    case = hall.case(headers, number)
    assert case["state"] == "under_review"
    assert [entry["fact"] for entry in case["timeline"]].count("correction-required") == 1
    assert problem(supply("lease_contract", A_PDF)) == (409, "case.nothing-asked")


def a_zip() -> bytes:
    """An archive, as office files are."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("lease.pdf", b"", "upload.empty"),
        ("lease.pdf", a_zip(), "upload.type-not-allowed"),
        ("lease.pdf", a_zip() + A_PDF, "upload.type-not-allowed"),
        ("lease.pdf", b"<html><script>alert(1)</script></html>", "upload.type-not-allowed"),
        ("lease.pdf", b"<!--" + A_PDF, "upload.type-not-allowed"),
        ("lease.pdf", b"%PDF-1.7\n<script>alert(1)</script>", "upload.type-not-allowed"),
        ("photo.jpg", b"\xff\xd8\xff\xe0<?php system($_GET['x']); ?>", "upload.type-not-allowed"),
        (
            "photo.svg",
            b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>",
            "upload.type-not-allowed",
        ),
    ],
)
def test_a_disguised_file_is_refused(
    hall: Hall, anybody: tuple[Citizen, Headers], name: str, content: bytes, code: str
) -> None:
    _, headers = anybody
    with untouched(hall):
        files = {"file": (name, content, "application/pdf")}
        answer = hall.client.post("/api/v1/uploads", headers=keyed(headers), files=files)
    assert problem(answer) == (422, code)


@pytest.mark.parametrize(
    "name",
    [
        "../../../etc/passwd",
        "..\\..\\boot.ini",
        "/etc/cron.d/x",
        "a\x00.pdf",
        'x"; filename="y.html',
        "长" * 300,
        "con",
        "..",
    ],
)
def test_a_strange_name_leads_nowhere(hall: Hall, anybody: tuple[Citizen, Headers], name: str) -> None:
    """The name is only kept, sealed: the file is stored and given back under a name of ours."""
    _, headers = anybody
    body = (
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="'
        + name.replace('"', '\\"').encode()
        + b'"\r\nContent-Type: text/html\r\n\r\n'
        + A_PDF
        + b"\r\n--b--\r\n"
    )
    sent = {**keyed(headers), "Content-Type": "multipart/form-data; boundary=b"}
    answer = hall.client.post("/api/v1/uploads", headers=sent, content=body)
    assert answer.status_code == 201, answer.text
    kept = answer.json()
    back = hall.client.get(f"/api/v1/uploads/{kept['id']}", headers=headers)
    assert back.content == A_PDF
    assert back.headers["content-type"] == kept["media_type"] == "application/pdf"
    assert back.headers["content-disposition"] == f'attachment; filename="{kept["id"]}"'
    assert back.headers["x-content-type-options"] == "nosniff"


def test_a_name_of_no_alphabet_is_kept_as_far_as_it_goes(
    hall: Hall, anybody: tuple[Citizen, Headers]
) -> None:
    """UTF-7 can say half a character, which nothing else can write."""
    _, headers = anybody
    sent = {**keyed(headers), "Content-Type": "multipart/form-data; boundary=b; charset=utf-7"}
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="+2AA-"\r\n\r\n'
    answer = hall.client.post("/api/v1/uploads", headers=sent, content=head + A_PDF + b"\r\n--b--\r\n")
    assert answer.status_code == 201


def test_a_file_of_full_size_passes_between_services(hall: Hall) -> None:
    """A page hands files on as base64, a third longer than what the page itself may take."""
    most = hall.installation.settings.web.max_upload_bytes
    content = A_PDF.replace(b"endobj\n", b"endobj\n" + b"%" * (most - 4096))
    body = {"owner": str(uuid4()), "name": "f", "content": base64.b64encode(content).decode()}
    service = bearer(load_secret(hall.installation.settings, SERVICE_TOKEN).hex())
    assert hall.client.post("/internal/v1/keep_upload", headers=service, json=body).status_code == 200


MULTIPART = {
    "no boundary": ("multipart/form-data", b"--b\r\n\r\n--b--\r\n"),
    "no end": ("multipart/form-data; boundary=b", b'--b\r\nContent-Disposition: form-data; name="file"; f'),
    "no file": (
        "multipart/form-data; boundary=b",
        b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\ntext\r\n--b--\r\n',
    ),
    "no such alphabet": (
        "multipart/form-data; boundary=b; charset=rot13",
        b'--b\r\nContent-Disposition: form-data; name="other"; filename="x"\r\n\r\nx\r\n--b--\r\n',
    ),
    "many parts": (
        "multipart/form-data; boundary=b",
        b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\n1\r\n' * 5000 + b"--b--\r\n",
    ),
}


@pytest.mark.parametrize("kind", MULTIPART)
def test_a_broken_form_is_refused(hall: Hall, anybody: tuple[Citizen, Headers], kind: str) -> None:
    media_type, body = MULTIPART[kind]
    _, headers = anybody
    with untouched(hall):
        answer = hall.client.post(
            "/api/v1/uploads", headers={**keyed(headers), "Content-Type": media_type}, content=body
        )
    assert problem(answer)[0] in (400, 422)


@pytest.mark.parametrize("door", ["/api/v1/uploads", "/api/v1/cases"])
@pytest.mark.parametrize("declared", [True, False])
def test_thirty_one_megabytes_are_refused_and_not_kept(
    hall: Hall, anybody: tuple[Citizen, Headers], door: str, declared: bool
) -> None:
    _, headers = anybody
    chunk = b"x" * (1 << 20)
    multipart = door.endswith("uploads")
    first = (
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'
        if multipart
        else b'{"a":"'
    )
    sent = {
        **keyed(headers),
        "Content-Type": f"{'multipart/form-data; boundary=b' if multipart else 'application/json'}",
    }
    if declared:
        sent["Content-Length"] = str(31 << 20)
    chunks = iter([first, *[chunk] * 31])
    answer: dict[str, Any] = {"body": b""}

    async def receive() -> dict[str, Any]:
        body = next(chunks, None)
        return {"type": "http.request", "body": body or b"", "more_body": body is not None}

    async def send(message: Any) -> None:
        answer["body"] += message.get("body", b"")
        answer["status"] = message.get("status", answer.get("status"))

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "https",
        "path": door,
        "raw_path": door.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode()) for name, value in sent.items()],
        "client": ("192.0.2.1", 1),
        "server": ("hall.test", 443),
    }
    limit = hall.installation.settings.web.max_upload_bytes
    tracemalloc.start()
    try:
        asyncio.run(app_of(hall)(scope, receive, send))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert answer["status"] == 413
    assert json.loads(answer["body"])["code"] == "request.too-large"
    # What a door may take is kept once while it comes; nothing beyond it, and what is declared is not read.
    assert peak < (3 << 20 if declared or multipart else limit + (4 << 20))


def bomb(who: Citizen, written: str) -> bytes:
    """A complete application with something written into its form."""
    text = json.dumps(application(who), ensure_ascii=False)
    return text.replace('"ground": "employment"', f'"ground": "employment", {written}').encode(
        "utf-8", "surrogatepass"
    )


BOMBS = {
    "the same name twice": '"ground": "housing"',
    "the same name twice, deeper": '"delivery": {"method": "post", "method": "pickup"}',
    "not a number": '"x": NaN',
    "endless": '"x": -Infinity',
    "too large a number": '"x": 1e999',
    "a number of 5,000 digits": f'"x": {"9" * 5000}',
    "a number of 4,000 digits": f'"x": {"9" * 4000}',
    "nested 30 deep": f'"x": {"[" * 30}{"]" * 30}',
    "nested 300 deep": f'"x": {"[" * 300}{"]" * 300}',
    "nested 900 deep": f'"x": {"[" * 900}{"]" * 900}',
    "objects nested 900 deep": f'"x": {"".join(["{" + chr(34) + "a" + chr(34) + ":"] * 900)}1{"}" * 900}',
    "nested 100,000 deep": f'"x": {"[" * 100_000}{"]" * 100_000}',
    "a long list": f'"x": [{",".join(["1"] * 200_000)}]',
    "many names": f'"delivery": {{{",".join(f"{chr(34)}n{n}{chr(34)}: 1" for n in range(20_000))}}}',
    "a NUL": '"language": "zh\\u0000"',
    "a NUL in a name": '"a\\u0000": 1',
    "half a character": '"language": "\\ud800"',
    "half a character in a name": '"\\udfff": 1',
    "half a character, raw": '"language": "\ud800"',
}


@pytest.mark.parametrize("kind", BOMBS)
def test_json_that_nobody_means_is_refused(hall: Hall, anybody: tuple[Citizen, Headers], kind: str) -> None:
    who, headers = anybody
    sent = {**keyed(headers), "Content-Type": "application/json"}
    began = time.perf_counter()
    with untouched(hall):
        answer = hall.client.post("/api/v1/cases", headers=sent, content=bomb(who, BOMBS[kind]))
    assert problem(answer)[0] in (400, 422)
    # Neither seconds of work nor an answer that repeats what was sent.
    assert time.perf_counter() - began < 3
    assert len(answer.content) < 20_000


@pytest.mark.parametrize(
    ("door", "body"),
    [
        ("/api/v1/cases", b"[]"),
        ("/api/v1/cases", b"null"),
        ("/api/v1/cases", b'"text"'),
        ("/api/v1/cases", b""),
        ("/api/v1/cases", b"\xff\xfe\x00"),
        (
            "/api/v1/cases",
            b'{"matter": "residence_permit.apply", "version": 99999999999999999999, "form": {}}',
        ),
        ("/api/v1/cases", b'{"matter": "a\\u0000b", "form": {}}'),
        ("/api/v1/cases", b'{"matter": 1, "form": []}'),
        ("/api/v1/cases", b'{"matter": "residence_permit.apply", "form": {}, "uploads": {"photo": "no"}}'),
        (
            "/api/v1/cases",
            b'{"matter": "residence_permit.apply", "form": {}, "client": "' + b"x" * 101 + b'"}',
        ),
        ("/api/v1/cases/lookup", b'{"number": "\\u0000", "query_code": "x"}'),
        ("/api/v1/cases/lookup", b'{"number": "\\ud800", "query_code": "x"}'),
        ("/api/v1/cases/lookup", b'{"number": ["x"], "query_code": {}}'),
        (f"/api/v1/cases/{NOWHERE}/supplements", b'{"uploads": {}}'),
        (
            f"/api/v1/cases/{NOWHERE}/supplements",
            json.dumps({"uploads": {f"m{n}": str(UUID(int=n)) for n in range(51)}}).encode(),
        ),
    ],
)
def test_a_body_of_another_shape_is_refused(
    hall: Hall, anybody: tuple[Citizen, Headers], door: str, body: bytes
) -> None:
    _, headers = anybody
    with untouched(hall):
        answer = hall.client.post(
            door, headers={**keyed(headers), "Content-Type": "application/json"}, content=body
        )
    assert problem(answer)[0] in (400, 404, 422)


@pytest.mark.parametrize(
    ("method", "path", "options"),
    [
        ("GET", "/api/v1/cases/%00", {}),
        ("GET", f"/api/v1/cases/{'9' * 3000}", {}),
        ("GET", "/api/v1/cases/%ED%A0%80", {}),
        ("GET", "/api/v1/matters/%00", {}),
        ("GET", "/problems/%00", {}),
        ("GET", "/api/v1/uploads/%00", {}),
        ("POST", "/api/v1/cases/%00/supplements", {"json": {"uploads": {"photo": str(UUID(int=1))}}}),
        ("GET", "/cases/%00", {}),
        ("GET", "/?lang=%00", {}),
        ("GET", "/cases", {"headers": {"Cookie": "onestop_lang=%00; onestop_mode=\x7f"}}),
        ("POST", "/lookup", {"data": {"number": "\x00", "query_code": "x"}}),
        ("POST", "/lookup", {"data": {"number": "x", "query_code": "\x00"}}),
        ("POST", "/preferences", {"data": {"back": "/\x00", "lang": "en"}}),
        ("POST", "/preferences", {"data": {"back": "//elsewhere.example", "lang": "en"}}),
        ("POST", "/preferences", {"data": {"back": "/\r\nSet-Cookie: a=b", "lang": "en"}}),
    ],
)
@pytest.mark.usefixtures("fresh_lookups")
def test_strange_addresses_and_fields_are_no_failure_of_ours(
    hall: Hall, anybody: tuple[Citizen, Headers], method: str, path: str, options: dict[str, Any]
) -> None:
    _, headers = anybody
    sent = {**keyed(headers), **options.get("headers", {})}
    answer = hall.client.request(method, path, **{**options, "headers": sent}, follow_redirects=False)
    assert answer.status_code < 500
    assert answer.headers.get("location", "/").startswith("/")
    assert not answer.headers.get("location", "/").startswith("//")
    assert "a=b" not in answer.headers.get("set-cookie", "")


@pytest.mark.parametrize(
    "query",
    [
        "cursor=x",
        "cursor=%00",
        "cursor=" + base64.urlsafe_b64encode(b"2026-11-23T00:00:00|x").decode(),
        "cursor=" + base64.urlsafe_b64encode(f"2026-11-23T00:00:00|{UUID(int=1)}".encode()).decode(),
        "cursor=" + base64.urlsafe_b64encode(f"0001-01-01T00:00:00+23:59|{UUID(int=1)}".encode()).decode(),
        "cursor=" + base64.urlsafe_b64encode(f"9999-12-31T23:59:59-23:59|{UUID(int=1)}".encode()).decode(),
        "limit=0",
        "limit=101",
        "limit=99999999999999999999999",
        "mine=maybe",
    ],
)
def test_a_strange_page_of_the_queue_is_refused(hall: Hall, query: str) -> None:
    answer = hall.client.get(f"/api/v1/tasks?{query}", headers=hall.officer("officer-1"))
    assert problem(answer)[0] in (400, 422)


def test_a_strange_if_match_decides_nothing(hall: Hall, open_task: str) -> None:
    officer = hall.officer("officer-1")
    claimed = hall.client.post(f"/api/v1/tasks/{open_task}/claim", headers=officer)
    assert claimed.headers["etag"] == '"2"'
    own = [(name.encode(), value.encode()) for name, value in officer.items()]
    with untouched(hall):
        for tag in ('"1"', 'W/"2"', '"', "*" * 9000, '"1", "3"', "\xff", '"2'):
            answer = hall.client.post(
                f"/api/v1/tasks/{open_task}/decision",
                headers=[*own, (b"if-match", tag.encode("latin-1"))],
                json={"outcome": "passed"},
            )
            assert problem(answer) == (412, "resource.changed")


@pytest.mark.parametrize(
    ("method", "path", "options", "status", "code"),
    [
        ("GET", "/api/v1/nothing", {}, 404, "resource.not-found"),
        ("GET", "/.env", {}, 404, "resource.not-found"),
        ("GET", "/static/../pyproject.toml", {}, 404, "resource.not-found"),
        ("GET", "/static/%2e%2e/%2e%2e/pyproject.toml", {}, 404, "resource.not-found"),
        ("GET", "/openapi.json", {}, 404, "resource.not-found"),
        ("DELETE", "/api/v1/cases", {}, 405, "request.method-not-allowed"),
        ("PUT", f"/api/v1/cases/{NOWHERE}", {}, 405, "request.method-not-allowed"),
        ("TRACE", "/api/v1/cases", {}, 405, "request.method-not-allowed"),
        ("POST", "/static/onestop.css", {}, 405, "request.method-not-allowed"),
        (
            "POST",
            "/api/v1/cases",
            {"content": b"matter=x", "type": FORM},
            415,
            "request.unsupported-media-type",
        ),
        (
            "POST",
            "/api/v1/cases",
            {"content": b"{}", "type": "text/plain"},
            415,
            "request.unsupported-media-type",
        ),
        (
            "POST",
            "/api/v1/cases",
            {"content": b"<a/>", "type": "text/xml"},
            415,
            "request.unsupported-media-type",
        ),
        ("POST", "/api/v1/cases", {"content": b"{}"}, 415, "request.unsupported-media-type"),
        (
            "POST",
            "/api/v1/uploads",
            {"content": b"{}", "type": "application/json"},
            415,
            "request.unsupported-media-type",
        ),
        (
            "POST",
            "/lookup",
            {"content": b"{}", "type": "application/json"},
            415,
            "request.unsupported-media-type",
        ),
    ],
)
@pytest.mark.parametrize("language", ["zh-CN", "en"])
def test_what_is_not_here_is_told_in_ones_own_language(
    hall: Hall,
    anybody: tuple[Citizen, Headers],
    method: str,
    path: str,
    options: dict[str, Any],
    status: int,
    code: str,
    language: str,
) -> None:
    _, headers = anybody
    sent = {**keyed(headers), "Accept-Language": language}
    if "type" in options:
        sent["Content-Type"] = options["type"]
    with untouched(hall):
        answer = hall.client.request(method, path, headers=sent, content=options.get("content"))
    assert problem(answer) == (status, code)
    assert answer.headers["content-language"] == language
    assert answer.json()["title"].isascii() is (language == "en")
    assert ("allow" in answer.headers) is (status == 405)


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("", "zh-CN"),
        ("fr, de;q=0.5", "zh-CN"),
        ("*", "zh-CN"),
        ("en-GB,zh;q=0.9", "en"),
        ("zh-TW, en;q=0.9", "zh-CN"),
        ("en;q=0, zh;q=0.1", "zh-CN"),
        ("zh;q=0.1, en;q=0.2", "en"),
        ("en;q=nan, zh;q=inf, ;;;=,q", "zh-CN"),
        ("x" * 8000 + ",en", "en"),
    ],
)
def test_the_language_is_the_best_that_was_asked_for(hall: Hall, accepted: str, language: str) -> None:
    answer = hall.client.get("/api/v1/nothing", headers={"Accept-Language": accepted})
    assert answer.headers["content-language"] == language
    assert "accept-language" in answer.headers["vary"].lower()
