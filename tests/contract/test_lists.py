"""Whoever adds a query says how it is called and how much it may read; its plan is looked at then."""

import inspect
import re
from types import ModuleType
from typing import Any

from deploy.services import SERVICES, part
from shared.catalogue.published import Published
from tests.integration.test_list_plans import NO_LISTS, QUERIES
from tests.support.installation import ROOT

_READS = re.compile(r"\bselect\(|SELECT ")


def test_every_query_is_among_them() -> None:
    found = set()
    for service in SERVICES:
        module = part(service, "queries")
        found |= {f"{module.__name__}.{name}" for name, _ in _functions(module)}
    found |= {
        f"{Published.__module__}.Published.{name}"
        for name, _ in inspect.getmembers(Published, inspect.isfunction)
        if not name.startswith("_")
    }
    assert {name for name, _ in QUERIES} == found


def test_every_file_that_reads_is_known() -> None:
    planned = {
        f"{name.rsplit('.', 2 if 'Published' in name else 1)[0].replace('.', '/')}.py" for name, _ in QUERIES
    }
    files = [path for part_ in ("services", "shared", "deploy") for path in (ROOT / part_).rglob("*.py")]
    reading = {
        path.relative_to(ROOT).as_posix() for path in files if _READS.search(path.read_text(encoding="utf-8"))
    }
    assert reading == planned | NO_LISTS.keys()


def _functions(module: ModuleType) -> list[tuple[str, Any]]:
    return [
        (name, function)
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__ and not name.startswith("_")
    ]
