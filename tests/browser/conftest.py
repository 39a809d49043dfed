"""One system and one browser for all tests here, and pictures of what was on the screen when one fails."""

from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from deploy.postgres import PostgresServer
from shared.settings import Settings
from tests.browser.system import System, open_system
from tests.browser.visitor import CHROMIUM, FLAGS, WAIT_MS, Visit, Visitor, visitor
from tests.support.installation import secrets_dir, template_settings

__all__ = ["secrets_dir", "template_settings"]

_REPORTS = pytest.StashKey[list[pytest.TestReport]]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let fixtures know how their test went."""
    report = yield
    item.stash.setdefault(_REPORTS, []).append(report)
    return report


def has_failed(item: pytest.Item) -> bool:
    """Whether the test of this item failed, as seen from the end of a fixture."""
    return any(report.failed for report in item.stash.get(_REPORTS, []))


@pytest.fixture(scope="package")
def system(postgres: PostgresServer, template_settings: Settings) -> Iterator[System]:
    """The web process and the worker."""
    with open_system(postgres, template_settings) as made:
        yield made


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Chromium as Debian ships it."""
    expect.set_options(timeout=WAIT_MS)
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield made
        made.close()


@pytest.fixture
def visit(
    system: System, browser: Browser, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Visit]:
    """Makes visitors. At the end nothing may have gone wrong behind their pages."""
    made: list[Visitor] = []

    def make(**wishes: object) -> Visitor:
        made.append(visitor(browser, system.origin, **wishes))  # type: ignore[arg-type]
        return made[-1]

    yield make
    if has_failed(request.node):
        for n, one in enumerate(made):
            one.photograph(tmp_path, f"visitor-{n}")
    for one in made:
        one.context.close()
    assert [fault for one in made for fault in one.faults] == []
