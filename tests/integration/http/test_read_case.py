"""A citizen looks at a case of their own; other people's are not there."""

from typing import Any
from uuid import UUID

import pytest

from tests.support.hall import NOWHERE, WITHOUT_LEASE, Hall, application, keyed, same, untouched

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


def test_citizen_and_officer_see_the_materials_in_the_order_of_the_matter(fresh_hall: Hall) -> None:
    who, headers = fresh_hall.citizen()
    number = fresh_hall.apply(headers, application(who)).json()["number"]
    fresh_hall.installation.pump()
    order = ["id_card", "photo", "residence_proof", "ground_proof"]
    assert [material["material"] for material in fresh_hall.case(headers, number)["materials"]] == order
    officer = fresh_hall.officer("officer-1")
    (task,) = fresh_hall.client.get("/api/v1/tasks", headers=officer).json()["tasks"]
    found = fresh_hall.client.get(f"/api/v1/tasks/{task['id']}", headers=officer).json()
    assert [material["material"] for material in found["materials"]] == order
