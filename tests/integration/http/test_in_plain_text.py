"""What nobody may read beside us: secrets in the environment of a process, and a file on its way in."""

import os
from pathlib import Path
from uuid import uuid4

import pytest

from shared.sections import MIB
from tests.support.installation import Installation, wait_for
from tests.support.web import Web, start_web

MARK = b"Somebody's lease contract, in plain text. "


@pytest.fixture
def web(db_installation: Installation) -> Web:
    return start_web(
        db_installation, ONESTOP_DEV_IDENTITY="true", ONESTOP_WEB__COOKIE_SECURE="false", TMPDIR="/tmp"
    )


def deleted_files(pid: int) -> list[bytes]:
    """What is in the files of a process that have no name any more."""
    found = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            if os.readlink(entry).endswith(" (deleted)"):
                found.append(entry.read_bytes())
        except OSError:
            continue  # closed meanwhile, or no file
    return found


def test_no_secret_stands_where_the_system_shows_it(web: Web) -> None:
    secrets = [
        path.read_bytes().strip()
        for path in web.made.settings.secrets_dir.rglob("*")
        if path.is_file() and path.suffix != ".json"
    ]
    assert len(secrets) > 10
    shown = b"".join(Path(f"/proc/{web.worker.pid}/{name}").read_bytes() for name in ("environ", "cmdline"))
    assert b"ONESTOP_SECRETS_DIR" in shown
    for secret in secrets:
        assert secret not in shown


def test_a_file_on_its_way_in_is_in_no_file_of_ours(web: Web) -> None:
    who = web.made.citizen()
    headers = web.log_in({"name": who.name, "id_number": who.id_number})
    head = (
        "POST /api/v1/uploads HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Authorization: {headers['Authorization']}\r\nIdempotency-Key: {uuid4()}\r\n"
        f"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {8 * MIB}\r\n\r\n"
        '--b\r\nContent-Disposition: form-data; name="file"; filename="lease.pdf"\r\n\r\n'
    )
    with web.connect() as connection:
        connection.sendall(head.encode() + MARK * (4 * MIB // len(MARK)))
        wait_for(lambda: sum(map(len, deleted_files(web.worker.pid))) > 3 * MIB, "most of it is here", 5)
        assert MARK not in b"".join(deleted_files(web.worker.pid))
