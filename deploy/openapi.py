"""The OpenAPI 3.1 document of everything that programs reach."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from deploy.secret_files import init_secrets
from deploy.services import SERVICES
from deploy.web import TITLE, build
from shared.http.openapi import openapi_of
from shared.sections import DbSettings
from shared.settings import Settings

VERSION = "1.0.0"
"""Of the contract, not of the product (semver.org): a test compares with the last release that was kept."""
TAGS = {
    "cases": "Applications of people, and of those who act for them: apply, follow, supply, look up.",
    "notices": "Messages that people did not ask for, and how they end.",
    "consents": "What waits for somebody's consent to have their certificates read.",
    "contacts": "How one is reached: one's own phones and mailboxes, verified by a code.",
    "matters": "Service items as they are published.",
    "messages": "The in-app inbox.",
    "tasks": "The officer's queue and desk.",
    "token": "Client programs log in by what they sign (OAuth 2.0 client credentials, RFC 7523).",
    "uploads": "Files that a submission or a supply names.",
}
_DESCRIPTION = """\
One door for every channel of the service hall.

- Every refusal is `application/problem+json` (RFC 9457) with a stable `code`, in Chinese or English by
  `Accept-Language`; `/problems` lists the codes.
- Whatever makes something takes an `Idempotency-Key`; a decision takes `If-Match`.
- Lists come page by page: `next` of one page is the `cursor` of the next.
- Answers may get further members within a version: read those that you know.
"""
_SERVERS = [
    {
        "url": "https://{host}",
        "description": "an installation",
        "variables": {"host": {"default": "hall.gov.example", "description": "the name people know it by"}},
    },
    {
        "url": "http://127.0.0.1:{port}",
        "description": "the demo",
        "variables": {"port": {"default": "8600", "description": "as the demo prints it"}},
    },
]


def openapi_document(services: Sequence[str] = SERVICES) -> dict[str, Any]:
    """The document of these services as a JSON object. It needs no database and no secrets of an
    installation."""
    with tempfile.TemporaryDirectory() as folder:
        init_secrets(Path(folder))
        settings = Settings(
            environment="test",
            db=DbSettings(host="/nowhere"),
            secrets_dir=Path(folder),
            # Their doors are for everybody, wherever they are on.
            identity={
                "one_time_code": {"kinds": SecretStr("phone,email")},
                "client_credentials": {"public_url": SecretStr("https://hall.gov.example")},
            },
        )
        return openapi_of(
            build(settings, services).public,
            TAGS,
            title=TITLE,
            version=VERSION,
            description=_DESCRIPTION,
            servers=_SERVERS,
            license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        )
