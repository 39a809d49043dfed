"""An application comes in: what is wrong with it is named, and nothing of it is kept."""

from uuid import uuid4

import pytest
from sqlalchemy import event

from tests.support.hall import Hall, app_of, application


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
def test_bad_input_is_named_and_writes_nothing(fresh_hall: Hall, body: bytes, status: int, code: str) -> None:
    _, headers = fresh_hall.citizen()
    before = fresh_hall.counts()
    sent = {**headers, "Idempotency-Key": str(uuid4()), "Content-Type": "application/json"}
    for language, content in (("zh-CN", "zh"), ("en", "en")):
        answer = fresh_hall.client.post(
            "/api/v1/cases", headers={**sent, "Accept-Language": language}, content=body
        )
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["content-language"].startswith(content)
        assert answer.json()["code"] == code
    assert fresh_hall.counts() == before


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"id_number": "330106199003073013"}, "/applicant/id_number"),
        ({"name": "长" * 61}, "/applicant/name"),
        ({"phone": "12"}, "/applicant/phone"),
    ],
)
def test_a_wrong_field_is_pointed_at(fresh_hall: Hall, change: dict[str, str], pointer: str) -> None:
    who, headers = fresh_hall.citizen()
    applicant = {"name": who.name, "id_number": who.id_number, "phone": who.phone, **change}
    before = fresh_hall.counts()
    answer = fresh_hall.apply(headers, application(who, applicant=applicant))
    assert answer.status_code == 422
    assert any(error["pointer"].endswith(pointer) for error in answer.json()["errors"])
    assert fresh_hall.counts() == before


def test_an_application_takes_few_trips_to_the_database_and_none_to_know_who_sends_it(hall: Hall) -> None:
    """Each trip costs a web process and the database more than what is done there."""
    who, headers = hall.citizen()
    hall.apply(headers, application(who))
    asked: list[str] = []

    def note(_: object, __: object, statement: str, *rest: object) -> None:
        asked.append(statement)

    engine = app_of(hall).state.contexts["intake"].engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        assert hall.apply(headers, application(who)).status_code == 201
    finally:
        event.remove(engine, "before_cursor_execute", note)
    ours = [
        statement
        for statement in asked
        if "intake.stand" not in statement and "witness AS w SET" not in statement
    ]
    assert len(ours) <= 9, ours
    assert not [statement for statement in ours if "intake.sessions" in statement]
