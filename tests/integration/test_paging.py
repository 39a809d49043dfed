"""Long lists, page by page: each line once, in order, and nothing of other people's."""

from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from deploy.services import SERVICES
from deploy.web import build
from tests.support.hall import Hall
from tests.support.installation import Installation, db_installation, secrets_dir, template_settings

__all__ = ["db_installation", "secrets_dir", "template_settings"]

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


@pytest.fixture
def hall(db_installation: Installation) -> Iterator[Hall]:
    web = db_installation.settings.web.model_copy(update={"cookie_secure": False})
    settings = db_installation.settings.model_copy(update={"dev_identity": True, "web": web})
    with TestClient(build(settings, SERVICES), raise_server_exceptions=False) as client:
        yield Hall(db_installation, client)


def walk(
    hall: Hall, path: str, name: str, headers: dict[str, str], limit: int, **asked: str
) -> list[dict[str, Any]]:
    """All lines of a list, from page to page."""
    found: list[dict[str, Any]] = []
    cursor: str | None = ""
    while cursor is not None:
        params = {**asked, "limit": str(limit), **({"cursor": cursor} if cursor else {})}
        page = hall.client.get(path, params=params, headers=headers).json()
        assert len(page[name]) <= limit
        found += page[name]
        cursor = page["next"]
    return found


@pytest.mark.parametrize("limit", [7, 16, 100])
def test_every_open_task_of_ones_departments_comes_once_the_earliest_due_first(
    hall: Hall, limit: int
) -> None:
    hall.installation.change(TASKS)
    found = walk(hall, "/api/v1/tasks", "tasks", hall.officer("officer-1"), limit)
    wanted = [n for n in range(1, 121) if n % 5 and n % 3 != 2]
    assert sorted(int(task["case"].removeprefix("case-")) for task in found) == wanted
    order = [((task["due_at"] or ""), task["id"]) for task in found]
    assert order == sorted(order)


def test_ones_own_tasks_are_those_that_one_claimed(hall: Hall) -> None:
    hall.installation.change(TASKS)
    found = walk(hall, "/api/v1/tasks", "tasks", hall.officer("officer-1"), 3, mine="true")
    wanted = [n for n in range(1, 121) if n % 5 and n % 3 != 2 and n % 7 == 0]
    assert sorted(int(task["case"].removeprefix("case-")) for task in found) == wanted
    assert walk(hall, "/api/v1/tasks", "tasks", hall.officer("officer-2"), 3, mine="true") == []
