"""Steps are passed and cases decided, on what was seen and on what is valid that day."""

from tests.support.hall import WITHOUT_LEASE, Hall, application, keyed, problem, stuck, untouched, upload
from tests.support.installation import HELD


def test_a_certificate_that_ends_while_something_else_is_supplied(hall: Hall) -> None:
    """Nobody can be asked a second time, so the case goes on; but nothing is approved on what has ended."""
    who, headers = hall.citizen(WITHOUT_LEASE)
    number = hall.apply(headers, application(who)).json()["number"]
    hall.installation.pump()
    person = hall.installation.value("SELECT applicant FROM intake.cases WHERE number = :n", n=number)
    hall.installation.change(
        "UPDATE materials.certificates SET state = 'revoked' WHERE holder = :p AND type_code = 'id_card'",
        p=person,
    )
    body = {"uploads": {"lease_contract": upload(hall, headers)}}
    path = f"/api/v1/cases/{number}/supplements"
    assert hall.client.post(path, headers=keyed(headers), json=body).status_code == 202
    hall.installation.pump()
    assert hall.case(headers, number)["state"] == "under_review"
    assert stuck(hall, number) == []
    hall.installation.work_task(number)
    hall.installation.pump()
    officer = hall.officer("officer-1")
    task = str(
        hall.installation.value("SELECT id FROM approval.tasks WHERE case_no = :n AND decides", n=number)
    )
    claimed = hall.client.post(f"/api/v1/tasks/{task}/claim", headers=officer)
    seen = {**officer, "If-Match": claimed.headers["etag"]}
    answer = hall.client.post(f"/api/v1/tasks/{task}/decision", headers=seen, json={"outcome": "approved"})
    assert problem(answer) == (409, "decision.certificate-lost")
    assert answer.json()["materials"] == ["id_card"]


def test_a_strange_if_match_decides_nothing(hall: Hall, open_task: str) -> None:
    officer = hall.officer("officer-1")
    claimed = hall.client.post(f"/api/v1/tasks/{open_task}/claim", headers=officer)
    assert claimed.headers["etag"] == '"2"'
    own = [(name.encode(), value.encode()) for name, value in officer.items()]
    with untouched(hall):
        for tag in ('"1"', 'W/"2"', '"', "*" * 9000, '"1", "3"', "\xff", '"2'):
            answer = hall.client.post(
                f"/api/v1/tasks/{open_task}/decision",
                headers=[*own, (b"if-match", tag.encode("latin-1"))],
                json={"outcome": "passed"},
            )
            assert problem(answer) == (412, "resource.changed")


def test_nothing_is_asked_of_whom_the_state_knows_all_about(fresh_hall: Hall) -> None:
    who, headers = fresh_hall.citizen()
    number = fresh_hall.apply(headers, application(who)).json()["number"]
    fresh_hall.installation.pump()
    officer = fresh_hall.officer("officer-1")
    for outcome in ("passed", "approved"):
        task = fresh_hall.client.get("/api/v1/tasks", headers=officer).json()["tasks"][0]
        claimed = fresh_hall.client.post(f"/api/v1/tasks/{task['id']}/claim", headers=officer)
        seen = {**officer, "If-Match": claimed.headers["etag"]}
        path = f"/api/v1/tasks/{task['id']}/decision"
        assert fresh_hall.client.post(path, headers=seen, json={"outcome": outcome}).status_code == 200
        fresh_hall.installation.pump()
    case = fresh_hall.case(headers, number)
    assert (case["outcome"], case["visits"], case["asked"]) == ("approved", 0, [])
    assert {material["source"] for material in case["materials"]} == {"certificate"}
    assert case["closed_at"] is not None
    assert case["received_at"] is not None
    assert case["accepted_at"] is not None


def test_a_refusal_gives_its_reasons_and_what_can_be_done(fresh_hall: Hall) -> None:
    who, headers = fresh_hall.citizen()
    number = fresh_hall.apply(headers, application(who)).json()["number"]
    fresh_hall.installation.pump()
    officer = fresh_hall.officer("officer-1")
    for decision in ({"outcome": "passed"}, {"outcome": "denied", "reason": "居住未满半年"}):
        task = fresh_hall.client.get("/api/v1/tasks", headers=officer).json()["tasks"][0]
        claimed = fresh_hall.client.post(f"/api/v1/tasks/{task['id']}/claim", headers=officer)
        seen = {**officer, "If-Match": claimed.headers["etag"]}
        fresh_hall.client.post(f"/api/v1/tasks/{task['id']}/decision", headers=seen, json=decision)
        fresh_hall.installation.pump()
    case = fresh_hall.case(headers, number)
    assert case["outcome"] == "denied"
    assert [reason["reason"] for reason in case["reasons"]] == ["居住未满半年"]
    assert case["remedies"]["reconsideration_days"] == 60


def test_a_decision_needs_the_version_that_was_seen(fresh_hall: Hall) -> None:
    who, headers = fresh_hall.citizen()
    fresh_hall.apply(headers, application(who))
    fresh_hall.installation.pump()
    officer = fresh_hall.officer("officer-1")
    task = fresh_hall.client.get("/api/v1/tasks", headers=officer).json()["tasks"][0]
    fresh_hall.client.post(f"/api/v1/tasks/{task['id']}/claim", headers=officer)
    path = f"/api/v1/tasks/{task['id']}/decision"
    assert fresh_hall.client.post(path, headers=officer, json={"outcome": "passed"}).status_code == 428
    old = {**officer, "If-Match": '"1"'}
    assert fresh_hall.client.post(path, headers=old, json={"outcome": "passed"}).status_code == 412


def test_nothing_is_approved_on_a_certificate_that_was_revoked_meanwhile(fresh_hall: Hall) -> None:
    who, headers = fresh_hall.citizen()
    number = fresh_hall.apply(headers, application(who)).json()["number"]
    fresh_hall.installation.pump()
    fresh_hall.installation.work_task(number)
    fresh_hall.installation.pump()
    fresh_hall.installation.change(
        "UPDATE materials.certificates SET state = 'revoked' WHERE type_code = 'lease_record'"
    )
    officer = fresh_hall.officer("officer-1")
    task = fresh_hall.client.get("/api/v1/tasks", headers=officer).json()["tasks"][0]
    claimed = fresh_hall.client.post(f"/api/v1/tasks/{task['id']}/claim", headers=officer)
    seen = {**officer, "If-Match": claimed.headers["etag"]}
    path = f"/api/v1/tasks/{task['id']}/decision"
    answer = fresh_hall.client.post(path, headers=seen, json={"outcome": "approved"})
    assert (answer.status_code, answer.json()["code"]) == (409, "decision.certificate-lost")
    # The officer's look on that day is a use like the first.
    uses = fresh_hall.installation.rows(
        'SELECT u.reader, u.purpose, u."grant" = g.id AS granted FROM materials.use_records u '
        "JOIN materials.use_grants g USING (case_no) WHERE case_no = :n AND reader <> 'materials.match'",
        n=number,
    )
    assert [tuple(use) for use in uses] == [("officer-1", "deciding the case", True)] * len(HELD)
