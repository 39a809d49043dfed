"""Files that citizens give: what they hold counts, not what they are called, and they are their owner's."""

import io
import json
import zipfile
from typing import Any
from uuid import uuid4

import pytest

from services.materials import uploads
from shared.peers import peer_token
from shared.privacy.secret_files import SERVICE_TOKEN, load_secret
from tests.support.hall import (
    A_PDF,
    WITHOUT_LEASE,
    Hall,
    Headers,
    app_of,
    application,
    bearer,
    hidden_field,
    keyed,
    problem,
    same,
    session,
    untouched,
    upload,
)
from tests.support.installation import Citizen


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
    name = f"upload-{kept['id']}.pdf"
    assert back.headers["content-disposition"].startswith(f'attachment; filename="{name}"; ')
    assert back.headers.get_list("x-content-type-options") == ["nosniff"]


def test_a_name_of_no_alphabet_is_kept_as_far_as_it_goes(
    hall: Hall, anybody: tuple[Citizen, Headers]
) -> None:
    _, headers = anybody
    sent = {**keyed(headers), "Content-Type": "multipart/form-data; boundary=b"}
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="\xff\xed\xa0\x80"\r\n\r\n'
    answer = hall.client.post("/api/v1/uploads", headers=sent, content=head + A_PDF + b"\r\n--b--\r\n")
    assert answer.status_code == 201


def test_a_file_of_full_size_passes_between_services(hall: Hall) -> None:
    """A page hands files on as they are, with a few words around them."""
    most = hall.installation.settings.web.max_upload_bytes
    content = A_PDF.replace(b"endobj\n", b"endobj\n" + b"%" * (most - 4096))
    params = {"params": json.dumps({"owner": str(uuid4()), "name": "f"})}
    token = load_secret(hall.installation.settings, "intake", SERVICE_TOKEN)
    service = bearer(peer_token(token, "materials"))
    path, files = "/internal/v1/materials/keep_upload", {"file": ("f", content)}
    assert hall.internal.post(path, headers=service, data=params, files=files).status_code == 200


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
    assert problem(answer)[0] in (400, 415, 422)


def test_uploads_are_judged_by_what_is_in_them(fresh_hall: Hall) -> None:
    _, headers = fresh_hall.citizen()
    before = fresh_hall.counts()
    for content, status in (
        (b"GIF89a not a pdf", 422),
        (b"", 422),
        (b"%PDF-1.4" + b"x" * (30 * 1024 * 1024), 413),
    ):
        sent = {**headers, "Idempotency-Key": str(uuid4())}
        files = {"file": ("a.pdf", content, "application/pdf")}
        assert fresh_hall.client.post("/api/v1/uploads", headers=sent, files=files).status_code == status
    assert fresh_hall.counts() == before


@pytest.fixture
def sessions_while_looking(hall: Hall, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many sessions with the database materials held each time that it looked at what a file holds."""
    held: list[int] = []
    pool = app_of(hall).state.contexts["materials"].engine.pool
    for name in ("media_of", "is_locked"):
        looks = getattr(uploads, name)

        def look(content: Any, looks: Any = looks) -> Any:
            held.append(pool.checkedout())
            return looks(content)

        monkeypatch.setattr(uploads, name, look)
    return held


LOCKED = A_PDF.replace(b"/Catalog", b"/Catalog/Encrypt 9 0 R")


@pytest.mark.parametrize(("content", "status"), [(A_PDF, 201), (LOCKED, 422), (b"GIF89a", 422)])
def test_no_session_is_held_while_a_file_is_looked_at(
    hall: Hall, sessions_while_looking: list[int], content: bytes, status: int
) -> None:
    _, headers = hall.citizen()
    sent = hall.client.post("/api/v1/uploads", headers=keyed(headers), files={"file": ("f", content)})
    assert sent.status_code == status
    assert set(sessions_while_looking) == {0}


def test_none_is_held_for_a_file_of_a_page_either(hall: Hall, sessions_while_looking: list[int]) -> None:
    who, headers = hall.citizen(WITHOUT_LEASE)
    number = hall.apply(headers, application(who)).json()["number"]
    hall.installation.pump()
    cookie, path = session(headers), f"/cases/{number}"
    form = {"csrf_token": hidden_field(hall, path, cookie), "idempotency_key": str(uuid4())}
    sent = hall.client.post(
        f"{path}/supply",
        headers=cookie,
        data={**form, "as.residence_proof": "lease_contract"},
        files={"file.residence_proof": ("lease.pdf", A_PDF)},
        follow_redirects=False,
    )
    assert sent.status_code == 303
    assert sessions_while_looking == [0]


def test_a_key_that_was_used_says_so_whatever_the_second_file_holds(hall: Hall) -> None:
    _, headers = hall.citizen()
    sent = keyed(headers)
    assert hall.client.post("/api/v1/uploads", headers=sent, files={"file": ("f", A_PDF)}).status_code == 201
    again = hall.client.post("/api/v1/uploads", headers=sent, files={"file": ("f", b"GIF89a")})
    assert problem(again) == (422, "idempotency.key-reused")
