"""Long lists, page by page: each line once, in order, and nothing of other people's."""

import re
from html import unescape
from typing import Any

import pytest

from shared.paging import write_cursor
from tests.support.hall import Hall, Headers, application

TASKS = """
INSERT INTO approval.cases (number, sequence, matter, matter_version, region, parties, facts, state, passed,
    asked, received_at, provisional)
SELECT 'case-' || n, 0, 'residence_permit.apply', 1, '330106', '[]', '{}', 'under_review', '[]', '[]',
    timestamptz '2026-11-23', false FROM generate_series(1, 120) AS n;
INSERT INTO approval.tasks (id, case_no, matter, step, department, decides, state, version, due_at,
    created_at, officer, claimed_at)
SELECT md5(n::text)::uuid, 'case-' || n, 'residence_permit.apply', 'verify',
    CASE n % 3 WHEN 0 THEN 'xihu-community' WHEN 1 THEN 'xihu-police' ELSE 'elsewhere' END, false,
    CASE WHEN n % 5 = 0 THEN 'done' WHEN n % 7 = 0 THEN 'claimed' ELSE 'open' END, 1,
    CASE WHEN n % 11 > 0 THEN timestamptz '2026-12-01' + n % 4 * interval '1 day' END,
    timestamptz '2026-11-23', CASE WHEN n % 7 = 0 THEN 'officer-1' END, NULL
FROM generate_series(1, 120) AS n
"""
CASES = """
INSERT INTO intake.cases (number, sequence, matter, matter_version, region, applicant, agent, filed_by_kind,
    filed_by, channel, client,
    sealed_form, query_digest, facts, consents, acted, state, asked, supplied, materials, visits,
    provisional, received_at)
SELECT 'case-' || lpad(n::text, 3, '0'), 0, 'residence_permit.apply', 1, '330106',
    CASE WHEN n % 3 < 2 THEN CAST(:me AS uuid) ELSE md5(n::text)::uuid END,
    CASE n % 6 WHEN 2 THEN CAST(:me AS uuid) WHEN 1 THEN md5(n::text)::uuid END,
    'citizen', 'somebody', 'web', 'test', '', decode(md5(n::text), 'hex'), '{}', '{}', '[]', 'submitted',
    '[]', '[]', '[]', 0, false,
    timestamptz '2026-11-01' + n / 4 * interval '1 hour'
FROM generate_series(1, 90) AS n
"""
MESSAGES = """
INSERT INTO notify.inbox_messages (id, recipient, case_no, title, body, sent_at)
SELECT md5(n::text)::uuid, CASE WHEN n % 3 > 0 THEN CAST(:me AS uuid) ELSE md5(n::text)::uuid END, 'case-1',
    n::text, '', timestamptz '2026-11-01' + n / 5 * interval '1 hour'
FROM generate_series(1, 90) AS n
"""
ENTRIES = """
INSERT INTO intake.timeline (case_no, at, service, sequence, fact, details)
SELECT 'case-001', timestamptz '2026-11-01' + n / 3 * interval '1 minute', 'approval', n, 'step-passed',
    jsonb_build_object('step', n)
FROM generate_series(1, 250) AS n
"""


def walk(
    hall: Hall, path: str, name: str, headers: Headers, limit: int, **asked: str
) -> list[dict[str, Any]]:
    """All lines of a list, from page to page."""
    found: list[dict[str, Any]] = []
    cursor: str | None = asked.pop("cursor", "")
    while cursor is not None:
        params = {**asked, "limit": str(limit), **({"cursor": cursor} if cursor else {})}
        page = hall.client.get(path, params=params, headers=headers).json()
        assert len(page[name]) <= limit
        found += page[name]
        cursor = page["next"]
    return found


def numbers(lines: list[dict[str, Any]], member: str) -> list[int]:
    return [int(line[member].removeprefix("case-")) for line in lines]


def somebody(hall: Hall) -> tuple[str, Headers]:
    """The first citizen of an installation, logged in: person_ref and headers."""
    _, headers = hall.citizen()
    return str(hall.installation.value("SELECT person_ref FROM intake.persons")), headers


def test_every_open_task_of_ones_departments_comes_once_the_earliest_due_first(fresh_hall: Hall) -> None:
    fresh_hall.installation.change(TASKS)
    officer = fresh_hall.officer("officer-1")
    for limit in (7, 16, 100):
        found = walk(fresh_hall, "/api/v1/tasks", "tasks", officer, limit)
        assert sorted(numbers(found, "case")) == [n for n in range(1, 121) if n % 5 and n % 3 != 2]
        order = [((task["due_at"] or ""), task["id"]) for task in found]
        assert order == sorted(order)


def test_ones_own_tasks_are_those_that_one_claimed(fresh_hall: Hall) -> None:
    fresh_hall.installation.change(TASKS)
    mine, theirs = (
        walk(fresh_hall, "/api/v1/tasks", "tasks", fresh_hall.officer(name), 3, mine="true")
        for name in ("officer-1", "officer-2")
    )
    assert sorted(numbers(mine, "case")) == [n for n in range(1, 121) if n % 5 and n % 3 != 2 and n % 7 == 0]
    assert theirs == []


def test_ones_cases_as_applicant_and_as_agent_come_the_newest_first(fresh_hall: Hall) -> None:
    me, headers = somebody(fresh_hall)
    fresh_hall.installation.change(CASES, me=me)
    mine = [n for n in range(1, 91) if n % 3 < 2 or n % 6 == 2]
    newest_first = sorted(mine, key=lambda n: (n // 4, n), reverse=True)
    for limit in (4, 15, 100):
        assert numbers(walk(fresh_hall, "/api/v1/cases", "cases", headers, limit), "number") == newest_first
    seen: list[str] = []
    address = "/cases"
    while address:
        text = fresh_hall.client.get(address, headers=headers).text
        seen += re.findall(r'href="/cases/case-(\d+)"', text)
        link = re.search(r'rel="next" href="([^"]+)"', text)
        address = unescape(link[1]) if link else ""
    assert [int(n) for n in seen] == newest_first


def test_ones_messages_come_the_newest_first(fresh_hall: Hall) -> None:
    me, headers = somebody(fresh_hall)
    fresh_hall.installation.change(MESSAGES, me=me)
    for limit in (7, 100):
        found = walk(fresh_hall, "/api/v1/messages", "messages", headers, limit)
        assert sorted(numbers(found, "title")) == [n for n in range(1, 91) if n % 3]
        order = [(message["sent_at"], message["id"]) for message in found]
        assert order == sorted(order, reverse=True)


def test_of_a_long_timeline_the_newest_part_is_shown_and_the_rest_can_be_read(fresh_hall: Hall) -> None:
    me, headers = somebody(fresh_hall)
    fresh_hall.installation.change(CASES, me=me)
    fresh_hall.installation.change(ENTRIES)
    case = fresh_hall.case(headers, "case-001")
    assert [entry["details"]["step"] for entry in case["timeline"]] == list(range(151, 251))
    path, cursor = "/api/v1/cases/case-001/timeline", case["timeline_next"]
    earlier = walk(fresh_hall, path, "timeline", headers, 30, cursor=cursor)
    assert [entry["details"]["step"] for entry in earlier] == list(range(150, 0, -1))
    text, pages = fresh_hall.client.get("/cases/case-001", headers=headers).text, 1
    while link := re.search(r'rel="next" href="([^"]+)"', text):
        text, pages = fresh_hall.client.get(unescape(link[1]), headers=headers).text, pages + 1
    assert (pages, text.partition("<details")[2].count('class="os-timeline__title"')) == (3, 50)
    _, stranger = fresh_hall.citizen()
    refused = fresh_hall.client.get(path, headers=stranger)
    assert (refused.status_code, refused.json()["code"]) == (404, "case.not-found")


@pytest.mark.parametrize(
    "cursor", ["x", "é", write_cursor("2026-11-23T00:00:00+00:00", "a\0b"), write_cursor("x", 1)]
)
def test_a_strange_cursor_is_refused(hall: Hall, cursor: str) -> None:
    who, headers = hall.citizen()
    number = hall.apply(headers, application(who)).json()["number"]
    for path in ("/api/v1/cases", "/api/v1/messages", f"/api/v1/cases/{number}/timeline"):
        answer = hall.client.get(path, params={"cursor": cursor}, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (400, "request.cursor-invalid")
