"""A case by number and query code, without a log-in: the right code always opens, and nobody finds it by
trying."""

from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_network

import pytest
from sqlalchemy import event
from starlette.testclient import TestClient

from deploy.services import SERVICES
from deploy.web import build
from services.intake.access import MISSES
from shared.settings import Settings
from tests.support.hall import NOWHERE, Hall, app_of, application, problem, same, untouched

LOOK_UP = "/api/v1/cases/lookup"


def with_receipt(hall: Hall) -> dict[str, str]:
    """Number and code of somebody's case."""
    who, headers = hall.citizen()
    receipt = hall.apply(headers, application(who)).json()
    return {"number": receipt["number"], "query_code": receipt["query_code"]}


def wrong(receipt: dict[str, str], n: int = 0) -> dict[str, str]:
    """The same number with a code that nobody has."""
    return {**receipt, "query_code": f"{n:032x}"}


@contextmanager
def coming_from(hall: Hall, address: str, settings: Settings | None = None) -> Iterator[TestClient]:
    """A browser at this address; with settings, at a process that has these."""
    app = build(settings, SERVICES).public if settings else app_of(hall)
    with TestClient(app, client=(address, 4711), raise_server_exceptions=False) as client:
        yield client


def exhaust(client: TestClient, receipt: dict[str, str], **headers: str) -> None:
    """As many typing errors as one may make."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    answers = [
        client.post(LOOK_UP, json=wrong(receipt, n), headers=sent).status_code for n in range(MISSES + 1)
    ]
    assert answers == [404] * MISSES + [429]


@pytest.mark.usefixtures("fresh_lookups")
def test_a_wrong_code_is_like_a_wrong_number(hall: Hall) -> None:
    receipt, others = with_receipt(hall), with_receipt(hall)
    asked = (
        wrong(receipt),
        wrong({**receipt, "number": NOWHERE}),
        # Somebody else's code is worth nothing here.
        {**receipt, "query_code": others["query_code"]},
    )
    first, *rest = [hall.client.post(LOOK_UP, json=body) for body in asked]
    assert problem(first) == (404, "case.not-found")
    for answer in rest:
        same(first, answer, but={})


@pytest.mark.usefixtures("fresh_lookups")
def test_a_wrong_code_takes_what_a_wrong_number_takes(hall: Hall) -> None:
    """The same statements, of which none finds anything: there is nothing that could take longer."""
    receipt = with_receipt(hall)
    engine = app_of(hall).state.contexts["intake"].engine

    def statements_of(body: dict[str, str]) -> list[tuple[str, int]]:
        found: list[tuple[str, int]] = []

        def note(_: object, cursor: object, statement: str, *rest: object) -> None:
            found.append((statement, cursor.rowcount))  # type: ignore[attr-defined]

        event.listen(engine, "after_cursor_execute", note)
        hall.client.post(LOOK_UP, json=body)
        event.remove(engine, "after_cursor_execute", note)
        return found

    assert statements_of(wrong(receipt)) == statements_of(wrong({**receipt, "number": NOWHERE}))


@pytest.mark.usefixtures("fresh_lookups")
def test_the_right_code_opens_whatever_was_tried_before(hall: Hall) -> None:
    receipt = with_receipt(hall)
    with coming_from(hall, "198.51.100.1") as client:
        exhaust(client, receipt)
        with untouched(hall):
            refused = [
                client.post(LOOK_UP, json=wrong({**receipt, "number": n}))
                for n in (NOWHERE, receipt["number"])
            ]
        assert problem(refused[0]) == (429, "case.too-many-lookups")
        assert int(refused[0].headers["retry-after"]) > 0
        same(*refused, but={})
        assert client.post(LOOK_UP, json=receipt).json()["number"] == receipt["number"]


@pytest.mark.usefixtures("fresh_lookups")
def test_typing_errors_of_one_network_are_nobody_elses(hall: Hall) -> None:
    receipt = with_receipt(hall)
    line, same_line, another = "2001:db8:1:2::1", "2001:db8:1:2:ffff::9", "2001:db8:1:3::1"
    with coming_from(hall, line) as client:
        exhaust(client, receipt)
    with coming_from(hall, same_line) as client:
        assert client.post(LOOK_UP, json=wrong(receipt)).status_code == 429
    for address in (another, "198.51.100.2", "198.51.100.3"):
        with coming_from(hall, address) as client:
            assert client.post(LOOK_UP, json=wrong(receipt)).status_code == 404


@pytest.mark.usefixtures("fresh_lookups")
def test_behind_a_gateway_people_are_told_apart_by_what_it_says(hall: Hall) -> None:
    receipt, settings = with_receipt(hall), hall.installation.settings
    web = settings.web.model_copy(update={"trusted_proxies": (ip_network("10.9.0.0/16"),)})
    behind = settings.model_copy(update={"web": web})
    with coming_from(hall, "10.9.0.1", behind) as client:
        exhaust(client, receipt, X_Forwarded_For="198.51.100.20")
        # Neither by saying who else they are...
        for forged in ("1.2.3.4, 198.51.100.20", "203.0.113.1,198.51.100.20"):
            headers = {"X-Forwarded-For": forged, "Forwarded": "for=1.2.3.4"}
            assert client.post(LOOK_UP, json=wrong(receipt), headers=headers).status_code == 429
        headers = {"X-Forwarded-For": "198.51.100.21"}
        assert client.post(LOOK_UP, json=wrong(receipt), headers=headers).status_code == 404


@pytest.mark.usefixtures("fresh_lookups")
def test_without_a_gateway_nobody_says_who_they_are(hall: Hall) -> None:
    receipt = with_receipt(hall)
    with coming_from(hall, "198.51.100.30") as client:
        exhaust(client, receipt)
        headers = {"X-Forwarded-For": "1.2.3.4", "Forwarded": "for=1.2.3.4", "X-Real-IP": "1.2.3.4"}
        assert client.post(LOOK_UP, json=wrong(receipt), headers=headers).status_code == 429
