"""The development log-in and the cookies that it sets."""

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from deploy.services import SERVICES
from deploy.web import build
from tests.support.hall import Hall, problem, same, untouched


@pytest.fixture(scope="module")
def locked(hall: Hall) -> Iterator[TestClient]:
    """The same installation without the development log-in, as in production."""
    with TestClient(build(hall.installation.settings, SERVICES).public, "https://hall.test") as client:
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
        body = {"subject": "x", "departments": ["xihu-police"]}
        answer, nothing = (locked.request(method, where, json=body) for where in (path, "/dev/nothing"))
    assert problem(answer) == (404, "resource.not-found")
    same(answer, nothing, but={})


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
    client = TestClient(build(settings, SERVICES).public)
    answer = client.post("/dev/login", data={"person": "officer-1"}, follow_redirects=False)
    assert "secure" not in answer.headers["set-cookie"].lower()
    assert "httponly" in answer.headers["set-cookie"].lower()
