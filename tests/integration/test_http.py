"""The doors, as citizens and officers meet them: the real app, a real database, events handed on by hand."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import pytest
from starlette.testclient import TestClient

from deploy.services import SERVICES
from deploy.web import build
from tests.support.installation import (
    HELD,
    Citizen,
    Installation,
    db_installation,
    secrets_dir,
    template_settings,
)

__all__ = ["db_installation", "secrets_dir", "template_settings"]

DEPARTMENTS = ["xihu-community", "xihu-police"]
A_PDF = b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\nstartxref\n9\n%%EOF\n"
WITHOUT_LEASE = tuple(code for code in HELD if code != "lease_record")


@dataclass
class Hall:
    """The service hall over HTTP."""

    installation: Installation
    client: TestClient
    tokens: dict[str, str] = field(default_factory=dict)

    def citizen(self, certificates: tuple[str, ...] = tuple(HELD)) -> tuple[Citizen, dict[str, str]]:
        """Somebody who has logged in, with their headers."""
        who = self.installation.citizen(certificates)
        body = {"name": who.name, "id_number": who.id_number, "phone": who.phone}
        token = self.client.post("/dev/tokens/citizen", json=body).json()["token"]
        return who, {"Authorization": f"Bearer {token}"}

    def officer(self, subject: str, departments: list[str] | None = None) -> dict[str, str]:
        """Headers of an officer."""
        body = {"subject": subject, "departments": departments or DEPARTMENTS}
        token = self.client.post("/dev/tokens/officer", json=body).json()["token"]
        return {"Authorization": f"Bearer {token}"}

    def apply(self, headers: dict[str, str], body: dict[str, Any], key: str | None = None) -> Any:
        """One submission."""
        sent = {**headers, "Idempotency-Key": key or str(uuid4())}
        return self.client.post("/api/v1/cases", headers=sent, json=body)

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


@pytest.fixture
def hall(db_installation: Installation) -> Iterator[Hall]:
    web = db_installation.settings.web.model_copy(update={"cookie_secure": False})
    settings = db_installation.settings.model_copy(update={"dev_identity": True, "web": web})
    with TestClient(build(settings, SERVICES), raise_server_exceptions=False) as client:
        yield Hall(db_installation, client)


def application(who: Citizen, **changed: Any) -> dict[str, Any]:
    """A complete application."""
    form = {
        "applicant": {"name": who.name, "id_number": who.id_number, "phone": who.phone},
        "residence": {"address": "文三路 1 号", "kind": "rented", "since": "2024-03-01"},
        "ground": "employment",
        "fetch_consent": True,
        **changed,
    }
    return {"matter": "residence_permit.apply", "form": form}


def test_nothing_is_asked_of_whom_the_state_knows_all_about(hall: Hall) -> None:
    who, headers = hall.citizen()
    number = hall.apply(headers, application(who)).json()["number"]
    hall.installation.pump()
    officer = hall.officer("officer-1")
    for outcome in ("passed", "approved"):
        task = hall.client.get("/api/v1/tasks", headers=officer).json()["tasks"][0]
        claimed = hall.client.post(f"/api/v1/tasks/{task['id']}/claim", headers=officer)
        seen = {**officer, "If-Match": claimed.headers["etag"]}
        path = f"/api/v1/tasks/{task['id']}/decision"
        assert hall.client.post(path, headers=seen, json={"outcome": outcome}).status_code == 200
        hall.installation.pump()
    case = hall.case(headers, number)
    assert (case["outcome"], case["visits"], case["asked"]) == ("approved", 0, [])
    assert {material["source"] for material in case["materials"]} == {"certificate"}
    assert case["closed_at"] is not None
    assert case["received_at"] is not None
    assert case["accepted_at"] is not None


def test_citizen_and_officer_see_the_materials_in_the_order_of_the_matter(hall: Hall) -> None:
    who, headers = hall.citizen()
    number = hall.apply(headers, application(who)).json()["number"]
    hall.installation.pump()
    order = ["id_card", "photo", "residence_proof", "ground_proof"]
    assert [material["material"] for material in hall.case(headers, number)["materials"]] == order
    officer = hall.officer("officer-1")
    (task,) = hall.client.get("/api/v1/tasks", headers=officer).json()["tasks"]
    found = hall.client.get(f"/api/v1/tasks/{task['id']}", headers=officer).json()
    assert [material["material"] for material in found["materials"]] == order


def test_a_gap_is_asked_for_once_and_supplied(hall: Hall) -> None:
    who, headers = hall.citizen(WITHOUT_LEASE)
    number = hall.apply(headers, application(who)).json()["number"]
    hall.installation.pump()
    case = hall.case(headers, number)
    assert [item["material"] for item in case["asked"]] == ["residence_proof"]
    once = {**headers, "Idempotency-Key": str(uuid4())}
    file = {"file": ("lease.pdf", A_PDF, "application/pdf")}
    upload = hall.client.post("/api/v1/uploads", headers=once, files=file).json()["id"]
    supply = {**headers, "Idempotency-Key": str(uuid4())}
    path = f"/api/v1/cases/{number}/supplements"
    answer = hall.client.post(path, headers=supply, json={"uploads": {"lease_contract": upload}})
    assert answer.status_code == 202
    hall.installation.pump()
    case = hall.case(headers, number)
    assert case["state"] == "under_review"
    assert sum(entry["fact"] == "correction-required" for entry in case["timeline"]) == 1


def test_a_refusal_gives_its_reasons_and_what_can_be_done(hall: Hall) -> None:
    who, headers = hall.citizen()
    number = hall.apply(headers, application(who)).json()["number"]
    hall.installation.pump()
    officer = hall.officer("officer-1")
    for decision in ({"outcome": "passed"}, {"outcome": "denied", "reason": "居住未满半年"}):
        task = hall.client.get("/api/v1/tasks", headers=officer).json()["tasks"][0]
        claimed = hall.client.post(f"/api/v1/tasks/{task['id']}/claim", headers=officer)
        seen = {**officer, "If-Match": claimed.headers["etag"]}
        hall.client.post(f"/api/v1/tasks/{task['id']}/decision", headers=seen, json=decision)
        hall.installation.pump()
    case = hall.case(headers, number)
    assert case["outcome"] == "denied"
    assert [reason["reason"] for reason in case["reasons"]] == ["居住未满半年"]
    assert case["remedies"]["reconsideration_days"] == 60


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, "request.malformed"),
        (b'{"matter": "residence_permit.apply", "form": {}, "owner": 1}', 422, "request.unknown-field"),
        (b'{"matter": "no.such", "form": {}}', 404, "matter.unknown"),
        (b'{"matter": "residence_permit.apply", "version": 99, "form": {}}', 404, "matter.version-unknown"),
        (b'{"matter": "residence_permit.apply", "form": {}}', 422, "request.invalid"),
    ],
)
def test_bad_input_is_named_and_writes_nothing(hall: Hall, body: bytes, status: int, code: str) -> None:
    _, headers = hall.citizen()
    before = hall.counts()
    sent = {**headers, "Idempotency-Key": str(uuid4()), "Content-Type": "application/json"}
    for language, content in (("zh-CN", "zh"), ("en", "en")):
        answer = hall.client.post(
            "/api/v1/cases", headers={**sent, "Accept-Language": language}, content=body
        )
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["content-language"].startswith(content)
        assert answer.json()["code"] == code
    assert hall.counts() == before


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"id_number": "330106199003073013"}, "/applicant/id_number"),
        ({"name": "长" * 61}, "/applicant/name"),
        ({"phone": "12"}, "/applicant/phone"),
    ],
)
def test_a_wrong_field_is_pointed_at(hall: Hall, change: dict[str, str], pointer: str) -> None:
    who, headers = hall.citizen()
    applicant = {"name": who.name, "id_number": who.id_number, "phone": who.phone, **change}
    before = hall.counts()
    answer = hall.apply(headers, application(who, applicant=applicant))
    assert answer.status_code == 422
    assert any(error["pointer"].endswith(pointer) for error in answer.json()["errors"])
    assert hall.counts() == before


def test_an_idempotency_key_makes_one_case(hall: Hall) -> None:
    who, headers = hall.citizen()
    body = application(who)
    assert hall.client.post("/api/v1/cases", headers=headers, json=body).status_code == 400
    key = str(uuid4())
    first = hall.apply(headers, body, key)
    assert hall.apply(headers, body, key).json() == first.json()
    changed = application(who, ground="housing")
    assert hall.apply(headers, changed, key).json()["code"] == "idempotency.key-reused"
    with ThreadPoolExecutor(8) as pool:
        again = list(pool.map(lambda _: hall.apply(headers, body, key), range(8)))
    assert {answer.status_code for answer in again} <= {201, 409}
    assert hall.installation.value("SELECT count(*) FROM intake.cases") == 1


def test_somebody_elses_case_is_like_one_that_is_not_there(hall: Hall) -> None:
    who, headers = hall.citizen()
    number = hall.apply(headers, application(who)).json()["number"]
    _, other = hall.citizen()
    theirs = hall.client.get(f"/api/v1/cases/{number}", headers=other)
    nothing = hall.client.get("/api/v1/cases/330106261123999999X", headers=other)
    assert theirs.status_code == nothing.status_code == 404
    assert {**theirs.json(), "trace_id": ""} == {**nothing.json(), "trace_id": ""}


def test_a_case_is_looked_up_by_number_and_code_and_guessing_ends(hall: Hall) -> None:
    who, headers = hall.citizen()
    receipt = hall.apply(headers, application(who)).json()
    asked = {"number": receipt["number"], "query_code": receipt["query_code"]}
    assert hall.client.post("/api/v1/cases/lookup", json=asked).json()["number"] == receipt["number"]
    wrong = [
        hall.client.post("/api/v1/cases/lookup", json={**asked, "query_code": f"{n:032x}"}).status_code
        for n in range(21)
    ]
    assert wrong == [404] * 20 + [429]


def test_of_two_officers_exactly_one_gets_the_task(hall: Hall) -> None:
    who, headers = hall.citizen()
    officers = [hall.officer("officer-1"), hall.officer("officer-2")]
    for _ in range(5):
        hall.apply(headers, application(who))
    hall.installation.pump()
    for task in hall.client.get("/api/v1/tasks", headers=officers[0]).json()["tasks"]:
        path = f"/api/v1/tasks/{task['id']}/claim"
        with ThreadPoolExecutor(2) as pool:
            answers = list(pool.map(lambda o, path=path: hall.client.post(path, headers=o), officers))
        assert sorted(answer.status_code for answer in answers) == [200, 409]
        (loser,) = [answer.json() for answer in answers if answer.status_code == 409]
        assert loser["officer"] in ("officer-1", "officer-2")
        assert loser["at"]


def test_officers_see_their_departments_only(hall: Hall) -> None:
    who, headers = hall.citizen()
    hall.apply(headers, application(who))
    hall.installation.pump()
    task = hall.client.get("/api/v1/tasks", headers=hall.officer("a")).json()["tasks"][0]
    stranger = hall.officer("b", ["somewhere-else"])
    assert hall.client.get("/api/v1/tasks", headers=stranger).json()["tasks"] == []
    assert hall.client.get(f"/api/v1/tasks/{task['id']}", headers=stranger).status_code == 404


def test_a_decision_needs_the_version_that_was_seen(hall: Hall) -> None:
    who, headers = hall.citizen()
    hall.apply(headers, application(who))
    hall.installation.pump()
    officer = hall.officer("officer-1")
    task = hall.client.get("/api/v1/tasks", headers=officer).json()["tasks"][0]
    hall.client.post(f"/api/v1/tasks/{task['id']}/claim", headers=officer)
    path = f"/api/v1/tasks/{task['id']}/decision"
    assert hall.client.post(path, headers=officer, json={"outcome": "passed"}).status_code == 428
    old = {**officer, "If-Match": '"1"'}
    assert hall.client.post(path, headers=old, json={"outcome": "passed"}).status_code == 412


def test_no_consent_no_reading(hall: Hall) -> None:
    who, headers = hall.citizen()
    number = hall.apply(headers, application(who, fetch_consent=False)).json()["number"]
    hall.installation.pump()
    assert hall.installation.value("SELECT count(*) FROM materials.use_records") == 0
    assert {m["outcome"] for m in hall.case(headers, number)["materials"]} == {"needs_consent"}


def test_every_certificate_read_leaves_a_grant_and_a_use(hall: Hall) -> None:
    who, headers = hall.citizen()
    number = hall.apply(headers, application(who)).json()["number"]
    hall.installation.pump()
    of_case = {"n": number}
    uses = hall.installation.rows('SELECT "grant" FROM materials.use_records WHERE case_no = :n', **of_case)
    grants = hall.installation.rows("SELECT id FROM materials.use_grants WHERE case_no = :n", **of_case)
    assert len(uses) == len(HELD)
    assert {use.grant for use in uses} == {grant.id for grant in grants}


def test_nothing_is_approved_on_a_certificate_that_was_revoked_meanwhile(hall: Hall) -> None:
    who, headers = hall.citizen()
    number = hall.apply(headers, application(who)).json()["number"]
    hall.installation.pump()
    hall.installation.work_task(number)
    hall.installation.pump()
    hall.installation.change(
        "UPDATE materials.certificates SET state = 'revoked' WHERE type_code = 'lease_record'"
    )
    officer = hall.officer("officer-1")
    task = hall.client.get("/api/v1/tasks", headers=officer).json()["tasks"][0]
    claimed = hall.client.post(f"/api/v1/tasks/{task['id']}/claim", headers=officer)
    seen = {**officer, "If-Match": claimed.headers["etag"]}
    path = f"/api/v1/tasks/{task['id']}/decision"
    answer = hall.client.post(path, headers=seen, json={"outcome": "approved"})
    assert (answer.status_code, answer.json()["code"]) == (409, "decision.certificate-lost")
    # The officer's look on that day is a use like the first.
    uses = hall.installation.rows(
        'SELECT u.reader, u.purpose, u."grant" = g.id AS granted FROM materials.use_records u '
        "JOIN materials.use_grants g USING (case_no) WHERE case_no = :n AND reader <> 'materials.match'",
        n=number,
    )
    assert [tuple(use) for use in uses] == [("officer-1", "deciding the case", True)] * len(HELD)


def test_uploads_are_judged_by_what_is_in_them(hall: Hall) -> None:
    _, headers = hall.citizen()
    before = hall.counts()
    for content, status in (
        (b"GIF89a not a pdf", 422),
        (b"", 422),
        (b"%PDF-1.4" + b"x" * (30 * 1024 * 1024), 413),
    ):
        sent = {**headers, "Idempotency-Key": str(uuid4())}
        files = {"file": ("a.pdf", content, "application/pdf")}
        assert hall.client.post("/api/v1/uploads", headers=sent, files=files).status_code == status
    assert hall.counts() == before
