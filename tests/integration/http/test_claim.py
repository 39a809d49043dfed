"""An officer takes a task: one of them, of the department."""

from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import event

from tests.support.hall import Hall, app_of, application, doors, problem


def test_who_has_no_business_with_a_task_waits_for_nobody_who_has(hall: Hall, open_task: str) -> None:
    """No row of it is locked for them, at any door: how long an answer takes would tell that it is there."""
    engine = app_of(hall).state.contexts["approval"].engine
    stranger = hall.officer("officer-9", ["elsewhere"])
    statements: list[str] = []

    def note(_: object, cursor: object, statement: str, *rest: object) -> None:
        statements.append(statement)

    found = [(m, p) for m, p in doors(app_of(hall)) if m == "POST" and "{task_id}" in p]
    assert len(found) >= 6
    event.listen(engine, "before_cursor_execute", note)
    for _, path in found:
        where = path.replace("{task_id}", open_task)
        headers = {**stranger, "If-Match": '"1"'}
        form = {"outcome": "passed", "if_match": "1", "reason": "x"}
        sent = {"reason": "x"} if path.endswith("/assignment") else {"outcome": "passed"}
        body = {"json": sent} if path.startswith("/api/") else {"data": form}
        answer = hall.client.post(where, headers=headers, **body)
        assert problem(answer) == (404, "task.not-found"), path
    event.remove(engine, "before_cursor_execute", note)
    assert statements
    assert [statement for statement in statements if "FOR UPDATE" in statement.upper()] == []


def test_of_two_officers_exactly_one_gets_the_task(fresh_hall: Hall) -> None:
    who, headers = fresh_hall.citizen()
    officers = [fresh_hall.officer("officer-1"), fresh_hall.officer("officer-2")]
    for _ in range(5):
        fresh_hall.apply(headers, application(who))
    fresh_hall.installation.pump()
    for task in fresh_hall.client.get("/api/v1/tasks", headers=officers[0]).json()["tasks"]:
        path = f"/api/v1/tasks/{task['id']}/claim"
        with ThreadPoolExecutor(2) as pool:
            answers = list(pool.map(lambda o, path=path: fresh_hall.client.post(path, headers=o), officers))
        assert sorted(answer.status_code for answer in answers) == [200, 409]
        (loser,) = [answer.json() for answer in answers if answer.status_code == 409]
        assert loser["officer"] in ("officer-1", "officer-2")
        assert loser["at"]
