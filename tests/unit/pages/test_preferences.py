"""Language and elder mode are kept in cookies, and the way back never leads to another site."""

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from shared.http.edge import install_internal_edge
from shared.http.locale import COOKIE
from shared.http.preferences import MODE_COOKIE, local_path, preferences_router
from shared.sections import WebSettings


@pytest.fixture
def client() -> TestClient:
    app = FastAPI()
    install_internal_edge(app, WebSettings())
    app.include_router(preferences_router(cookie_secure=True))
    return TestClient(app, base_url="https://hall.example", follow_redirects=False)


def test_a_choice_is_kept_for_a_year_and_leads_back(client: TestClient) -> None:
    answer = client.post("/preferences", data={"mode": "elder", "back": "/cases"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/cases")
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith(f"{MODE_COOKIE}=elder;")
    for part in ("Max-Age=31536000", "HttpOnly", "SameSite=lax", "Secure"):
        assert part in cookie
    assert client.post("/preferences", data={"lang": "en"}).headers["set-cookie"].startswith(f"{COOKIE}=en;")


@pytest.mark.parametrize("data", [{"mode": "huge"}, {"lang": "fr"}])
def test_an_unknown_choice_is_refused_and_sets_nothing(client: TestClient, data: dict[str, str]) -> None:
    answer = client.post("/preferences", data=data)
    assert answer.status_code == 422
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    "back",
    [
        "https://evil.example/",
        "//evil.example/",
        "/\\evil.example",
        "evil",
        "",
        "/a\r\nSet-Cookie: x=y",
        "/\t/x",
    ],
)
def test_no_way_back_leads_elsewhere(back: str) -> None:
    assert local_path(back) == "/"
    assert local_path("/cases/330106261123000001X") == "/cases/330106261123000001X"
