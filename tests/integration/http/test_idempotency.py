"""The same request sent twice makes one thing."""

from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest
from sqlalchemy import text

from shared.auth.principal import Principal, PrincipalKind
from tests.support.hall import Hall, Headers, application, problem, untouched
from tests.support.installation import Citizen, wait_for


def test_while_the_first_runs_the_second_is_told_so_and_later_gets_its_answer(hall: Hall) -> None:
    who, headers = hall.citizen()
    key, body = str(uuid4()), application(who)
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'intake.cases'::regclass"
    with ThreadPoolExecutor(1) as pool:
        with hall.installation.admin.begin() as connection:
            # The first holds its key, and cannot insert its case.
            connection.execute(text("LOCK TABLE intake.cases IN SHARE MODE"))
            first = pool.submit(hall.apply, headers, body, key)
            wait_for(lambda: hall.installation.value(waiting) == 1, "the first request stands at the lock", 4)
            assert problem(hall.apply(headers, body, key)) == (409, "idempotency.still-running")
            # The key is this person's: the same key of somebody else is another one.
            assert (
                hall.installation.value("SELECT count(*) FROM intake.idempotency_keys WHERE key = :k", k=key)
                == 0
            )
        done = first.result()
    assert done.status_code == 201
    again = hall.apply(headers, body, key)
    assert (again.status_code, again.json()) == (201, done.json())
    mine = hall.client.get("/api/v1/cases", headers=headers).json()["cases"]
    assert [case["number"] for case in mine] == [done.json()["number"]]


def test_a_key_is_its_owners(hall: Hall) -> None:
    key = str(uuid4())
    numbers = set()
    for _ in range(2):
        who, headers = hall.citizen()
        numbers.add(hall.apply(headers, application(who), key).json()["number"])
    assert len(numbers) == 2


def test_principals_of_different_kinds_share_no_keys() -> None:
    scopes = {
        Principal(PrincipalKind.CLIENT, "one-subject", channels=("app",)).scope,
        Principal(PrincipalKind.CITIZEN, "one-subject", person_ref=uuid4()).scope,
        Principal(PrincipalKind.OFFICER, "one-subject").scope,
    }
    assert len(scopes) == 3


def test_the_longest_name_of_an_operator_is_kept_whole(hall: Hall) -> None:
    longest = Principal(PrincipalKind.OPERATOR, "o" * 100, channels=("counter",), acting_for=uuid4()).scope
    room = hall.installation.rows(
        "SELECT table_schema, character_maximum_length AS most FROM information_schema.columns "
        "WHERE (table_name, column_name) IN (('idempotency_keys', 'principal'), ('held_forms', 'holder'))"
    )
    assert len(room) == 8
    assert [column.table_schema for column in room if column.most < len(longest)] == []


def test_a_refused_request_leaves_its_key_free(hall: Hall) -> None:
    who, headers = hall.citizen()
    key = str(uuid4())
    with untouched(hall):
        assert hall.apply(headers, application(who, ground="none"), key).status_code == 422
    assert hall.apply(headers, application(who), key).status_code == 201


@pytest.mark.parametrize(
    "key",
    [
        b"",
        b"short",
        b"x" * 129,
        b"has a blank in it",
        b"line\r\nSet-Cookie: onestop_session=x",
        b"line\nX-Other: 1",
        b"nul\x00nul\x00nul",
        "ключ-ключ".encode(),
    ],
)
def test_a_strange_key_is_refused_and_never_repeated(
    hall: Hall, anybody: tuple[Citizen, Headers], key: bytes
) -> None:
    who, headers = anybody
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    with untouched(hall):
        answer = hall.client.post(
            "/api/v1/cases", headers=[*raw, (b"idempotency-key", key)], json=application(who)
        )
    assert problem(answer) == (400, "idempotency.key-missing")
    assert "set-cookie" not in answer.headers
    assert "x-other" not in answer.headers


def test_an_idempotency_key_makes_one_case(fresh_hall: Hall) -> None:
    who, headers = fresh_hall.citizen()
    body = application(who)
    assert fresh_hall.client.post("/api/v1/cases", headers=headers, json=body).status_code == 400
    key = str(uuid4())
    first = fresh_hall.apply(headers, body, key)
    assert fresh_hall.apply(headers, body, key).json() == first.json()
    changed = application(who, ground="housing")
    assert fresh_hall.apply(headers, changed, key).json()["code"] == "idempotency.key-reused"
    with ThreadPoolExecutor(8) as pool:
        again = list(pool.map(lambda _: fresh_hall.apply(headers, body, key), range(8)))
    assert {answer.status_code for answer in again} <= {201, 409}
    assert fresh_hall.installation.value("SELECT count(*) FROM intake.cases") == 1
