"""The doors, as people meet them who want what is not theirs, or send what no client of ours would send.

One hall serves all of these; each test makes its own people and looks at its own cases. `untouched` compares
the contents of every table, so that "refused" means that nothing was written either.
"""

import base64
import hashlib
import hmac
import json
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
import yaml
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from starlette.testclient import TestClient

from deploy.catalogue import publish_matters
from deploy.postgres import PostgresServer
from deploy.services import SERVICES
from deploy.web import build
from services.intake.rules.identity import check_character
from shared.catalogue.loader import BUILT_IN
from shared.privacy.secret_files import SERVICE_TOKEN, SESSION_KEY, load_secret
from shared.settings import Settings
from tests.integration.test_http import A_PDF, Hall, application
from tests.support.installation import (
    MATTER,
    Citizen,
    make_installation,
    secrets_dir,
    template_settings,
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
    with make_installation(postgres, template_settings, scratch, None) as house:
        publish_matters(house.settings, more_matters(scratch))
        settings = house.settings.model_copy(update={"dev_identity": True})
        app = build(settings, SERVICES)
        with TestClient(app, "https://hall.test", raise_server_exceptions=False) as client:
            yield Hall(house, client)


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


def contents(hall: Hall) -> dict[str, tuple[int, int]]:
    """Rows of every table, and a checksum of what is in them."""
    tables = hall.house.rows(
        "SELECT table_schema || '.' || table_name AS name FROM information_schema.tables "
        "WHERE table_schema = ANY(:schemas) AND table_type = 'BASE TABLE'",
        schemas=[*SERVICES, "onestop"],
    )
    parts = [
        f"SELECT '{row.name}' AS name, count(*) AS rows, coalesce(sum(hashtextextended(t::text, 0)), 0) AS sum "
        f"FROM {row.name} t"
        for row in tables
    ]
    return {row.name: (row.rows, int(row.sum)) for row in hall.house.rows(" UNION ALL ".join(parts))}


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


@pytest.mark.parametrize("matter", [MATTER, OTHER_ROLE])
def test_an_agent_applies_follows_and_supplies(hall: Hall, matter: str) -> None:
    agent, headers = hall.citizen(("id_card",))
    sent = hall.apply(headers, acted_for(GRANNY, agent, "elderly", matter))
    assert sent.status_code == 201, sent.text
    number = sent.json()["number"]
    hall.house.pump()
    assert number in {
        case["number"] for case in hall.client.get("/api/v1/cases", headers=headers).json()["cases"]
    }
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
    hall.house.pump()
    assert hall.case(headers, number)["state"] == "under_review"
    # The applicant sees it too.
    granny = hall.client.post("/dev/tokens/citizen", json=GRANNY).json()["token"]
    assert hall.case(bearer(granny), number)["number"] == number


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
    hall: Hall, applicant: dict[str, str], ground: str, matter: str, status: int, code: str
) -> None:
    agent, headers = hall.citizen()
    with untouched(hall):
        assert problem(hall.apply(headers, acted_for(applicant, agent, ground, matter))) == (status, code)


def test_nobody_applies_for_others_without_being_named(hall: Hall) -> None:
    _, headers = hall.citizen()
    other, _ = hall.citizen()
    with untouched(hall):
        assert problem(hall.apply(headers, application(other))) == (403, "case.not-yours-to-file")
        third = hall.house.people + 1_000
        named = acted_for(GRANNY, Citizen("第三人", born(1970, third % 1000), "13800000003"), "elderly")
        assert problem(hall.apply(headers, named)) == (403, "case.not-yours-to-file")


def test_whoever_names_somebody_does_not_change_how_they_are_reached(hall: Hall) -> None:
    """Who knows an ID number could otherwise have somebody else's notices sent to themselves."""
    victim, headers = hall.citizen()
    number = hall.apply(headers, application(victim)).json()["number"]
    person = str(hall.house.value("SELECT applicant FROM intake.cases WHERE number = :n", n=number))
    old = Citizen("老者", born(1951, 99), "13812345678")
    body = {"name": old.name, "id_number": old.id_number, "phone": old.phone}
    attacker = bearer(hall.client.post("/dev/tokens/citizen", json=body).json()["token"])
    named = acted_for(body, Citizen(victim.name, victim.id_number, "13899999999"), "elderly")
    assert hall.apply(attacker, named).status_code == 201
    service = bearer(load_secret(hall.house.settings, SERVICE_TOKEN).hex())
    asked = {"person": person, "case": number, "purpose": "test"}
    assert (
        hall.client.post("/internal/v1/contact", headers=service, json=asked).json()["phone"] == victim.phone
    )


# --- log-ins -------------------------------------------------------------------------------------------------


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
    secret = key if key is not None else load_secret(hall.house.settings, SESSION_KEY)
    return f"{signed}.{segment(hmac.new(secret, signed.encode(), hashlib.sha256).digest())}"


def _changed_payload(hall: Hall) -> str:
    head, _, signature = forged(hall, kind="citizen").split(".")
    return f"{head}.{forged(hall).split('.')[1]}.{signature}"


FORGERIES = {
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
    return hall.client.request(method, filled, headers=headers, follow_redirects=False)


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
