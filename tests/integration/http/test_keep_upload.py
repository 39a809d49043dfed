"""Files wait some days for an application; those that a case took stay, and nobody fills the store alone."""

from services.materials.retention import RULES
from services.materials.uploads import MOST_UNTAKEN, MOST_UNTAKEN_BYTES
from shared.bus.housekeeping import forget_old
from tests.support.hall import A_PDF, WITHOUT_LEASE, Hall, Headers, application, keyed, problem, upload


def pass_days(hall: Hall, days: int) -> None:
    """Let every file have waited so many days longer."""
    hall.installation.change(
        "UPDATE materials.uploads SET held_at = held_at - make_interval(days => :days)", days=days
    )


def forget(hall: Hall) -> int:
    return forget_old(hall.installation.context("materials"), RULES).get("uploads", 0)


def is_there(hall: Hall, headers: Headers, file: str) -> bool:
    answer = hall.client.get(f"/api/v1/uploads/{file}", headers=headers)
    return int(answer.status_code) == 200


def test_a_file_that_a_case_took_stays_and_another_goes(fresh_hall: Hall) -> None:
    who, headers = fresh_hall.citizen(WITHOUT_LEASE)
    taken, left = upload(fresh_hall, headers), upload(fresh_hall, headers)
    body = {**application(who), "uploads": {"lease_contract": taken}}
    number = fresh_hall.apply(headers, body).json()["number"]
    fresh_hall.installation.pump()
    pass_days(fresh_hall, 8)
    assert forget(fresh_hall) == 1
    assert (is_there(fresh_hall, headers, taken), is_there(fresh_hall, headers, left)) == (True, False)
    assert fresh_hall.case(headers, number)["state"] == "under_review"


def test_a_file_that_is_supplied_stays(fresh_hall: Hall) -> None:
    who, headers = fresh_hall.citizen(WITHOUT_LEASE)
    number = fresh_hall.apply(headers, application(who)).json()["number"]
    fresh_hall.installation.pump()
    file = upload(fresh_hall, headers)
    path = f"/api/v1/cases/{number}/supplements"
    answer = fresh_hall.client.post(path, headers=keyed(headers), json={"uploads": {"lease_contract": file}})
    assert answer.status_code == 202
    fresh_hall.installation.pump()
    pass_days(fresh_hall, 8)
    assert forget(fresh_hall) == 0
    assert is_there(fresh_hall, headers, file)


def test_an_application_under_way_keeps_its_files_waiting(fresh_hall: Hall) -> None:
    """The fact that takes the file may come days later: materials may be away."""
    who, headers = fresh_hall.citizen(WITHOUT_LEASE)
    file = upload(fresh_hall, headers)
    pass_days(fresh_hall, 6)
    fresh_hall.apply(headers, {**application(who), "uploads": {"lease_contract": file}})
    pass_days(fresh_hall, 6)
    assert forget(fresh_hall) == 0
    fresh_hall.installation.pump()
    assert is_there(fresh_hall, headers, file)


def fill(hall: Hall, count: int, size: int) -> None:
    """So many files of everybody who is known, given an hour ago."""
    hall.installation.change(
        "INSERT INTO materials.uploads (id, owner, sealed_name, media_type, size, sealed_sha256, "
        "uploaded_at, held_at) SELECT gen_random_uuid(), p.person_ref, '', 'application/pdf', :size, '', "
        "clock_timestamp(), clock_timestamp() - interval '1 hour' FROM intake.persons AS p, "
        "generate_series(1, :count)",
        count=count,
        size=size,
    )


def test_nobody_keeps_more_files_waiting_than_the_quota(fresh_hall: Hall) -> None:
    who, headers = fresh_hall.citizen(WITHOUT_LEASE)
    fill(fresh_hall, MOST_UNTAKEN - 1, 10)
    last = upload(fresh_hall, headers)
    files = {"file": ("f", A_PDF)}
    refused = fresh_hall.client.post("/api/v1/uploads", headers=keyed(headers), files=files)
    assert problem(refused) == (429, "upload.too-many-untaken")
    # In six days and 23 hours the oldest goes.
    assert 6 * 86400 < int(refused.headers["retry-after"]) <= 7 * 86400 - 3600 + 1
    _, others = fresh_hall.citizen()
    assert fresh_hall.client.post("/api/v1/uploads", headers=keyed(others), files=files).status_code == 201
    fresh_hall.apply(headers, {**application(who), "uploads": {"lease_contract": last}})
    fresh_hall.installation.pump()
    assert fresh_hall.client.post("/api/v1/uploads", headers=keyed(headers), files=files).status_code == 201


def test_nobody_keeps_more_bytes_waiting_than_the_quota(fresh_hall: Hall) -> None:
    _, headers = fresh_hall.citizen()
    fill(fresh_hall, 4, MOST_UNTAKEN_BYTES // 4 - len(A_PDF))
    files = {"file": ("f", A_PDF)}
    answers = [
        fresh_hall.client.post("/api/v1/uploads", headers=keyed(headers), files=files) for _ in range(5)
    ]
    assert [answer.status_code for answer in answers] == [201, 201, 201, 201, 429]
