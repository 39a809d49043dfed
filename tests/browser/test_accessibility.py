"""Every page in every state, in both languages and both modes: the rules of axe, and the numbers of 适老化.

Numbers: targets of 44 px, in elder mode 60 px; text of 14 px, in elder mode 18 px, and 30 px where the reader
wants it; lines of 1.3 times the text, in elder mode paragraphs 1.3 times as far apart as lines; contrast by
axe; no scrolling sideways from 320 px on.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.prepared import PLACES, Prepared, Role, add_transient, set_up
from tests.browser.system import System
from tests.browser.visitor import DESKTOP, PHONE, Visitor, visitor

pytestmark = pytest.mark.browser

NARROW = 320
LARGEST = 30
NORMAL = {"target": 44, "text": 14, "gap": 0}
ELDER = {"target": 60, "text": 18, "gap": 1.3}
AXE = files("axe_playwright_python").joinpath("axe.min.js").read_text("utf-8")
MEASURE = Path(__file__).with_name("measure.js").read_text("utf-8")
STOPS = Path(__file__).with_name("stops.js").read_text("utf-8")
ON, OFF = {"enabled": True}, {"enabled": False}
LOOKS = ["color-contrast", "target-size", "scrollable-region-focusable"]
"""The rules that another style sheet can break: in elder mode the document is the same."""
LANGUAGES = {"zh": "zh-CN", "en": "en"}
LOOKED_AT = [
    pytest.param(language, name, id=f"{language}-{name}")
    for language in LANGUAGES
    for name, place in PLACES.items()
    if language == "zh" or not place.twin
]
WALKED = (
    "home",
    "login",
    "lookup-missed",
    "cases",
    "case-asked-wrong",
    "queue",
    "task-deciding",
    "task-claimed",
)


@pytest.fixture(scope="module")
def prepared(system: System) -> Iterator[Prepared]:
    """Everything stands still, so that all variants see the same."""
    made = set_up(system)
    with system.nobody_works():
        yield add_transient(system, made)


@dataclass
class Visitors:
    """One visitor for each role, and the address of every title that they have seen."""

    browser: Browser
    system: System
    prepared: Prepared
    visitors: dict[Role, Visitor] = field(default_factory=dict)
    titles: dict[str, str] = field(default_factory=dict)

    def go(self, name: str, language: str = "zh", *, elder: bool = False) -> Visitor:
        """Lead the visitor whom it takes to a page, in this language and mode."""
        role = PLACES[name].role
        if role not in self.visitors:
            session = self.prepared.sessions[role]
            self.visitors[role] = visitor(self.browser, self.system.origin, session=session)
        one = self.visitors[role]
        one.prefer(LANGUAGES[language], elder)
        one.resize(DESKTOP)
        one.faults.clear()
        PLACES[name].way(one, self.prepared)
        one.page.wait_for_load_state()
        return one


@pytest.fixture(scope="module")
def visitors(browser: Browser, system: System, prepared: Prepared) -> Iterator[Visitors]:
    """Everybody whom the tests need."""
    made = Visitors(browser, system, prepared)
    yield made
    for one in made.visitors.values():
        one.context.close()


def complain(one: Visitor, folder: Path, faults: list[str]) -> None:
    """Fail with all that is wrong and a picture of it."""
    if faults:
        pytest.fail("\n".join([str(one.photograph(folder, "page")), *faults]), pytrace=False)


@pytest.mark.parametrize(("language", "name"), LOOKED_AT)
def test_everybody_can_use_this_page(visitors: Visitors, language: str, name: str, tmp_path: Path) -> None:
    one = visitors.go(name, language)
    faults = [*measured(one, language, DESKTOP, NORMAL), *titled(one, visitors)]
    if not PLACES[name].twin:
        one.page.evaluate(AXE)
        # Colours do not depend on the language, and are what takes axe longest.
        faults += axe(one, {"rules": {"target-size": ON, "color-contrast": ON if language == "zh" else OFF}})
    faults += measured(one, language, NARROW, NORMAL)
    # A test of the pages sees to it that elder mode is this one attribute.
    one.page.evaluate("document.documentElement.dataset.mode = 'elder'")
    faults += measured(one, language, NARROW, ELDER)
    if not PLACES[name].twin and language == "zh":
        one.resize(DESKTOP)
        faults += [*measured(one, language, DESKTOP, ELDER), *axe(one, {"runOnly": LOOKS})]
    complain(one, tmp_path, [*faults, *one.faults])


def axe(one: Visitor, options: Mapping[str, Any]) -> list[str]:
    """What axe says is wrong, and what it could not measure of contrasts."""
    found: dict[str, Any] = one.page.evaluate(
        "async options => { const { violations, incomplete } = await axe.run(options);"
        " return { violations, incomplete } }",
        {**options, "resultTypes": ["violations", "incomplete"]},
    )
    unsure = [rule for rule in found["incomplete"] if rule["id"] == "color-contrast"]
    return [
        f"{rule['id']}: {rule['help']}: {node['html'][:200]}"
        for rule in [*found["violations"], *unsure]
        for node in rule["nodes"]
    ]


def measured(one: Visitor, language: str, width: int, limits: Mapping[str, float]) -> list[str]:
    """What our own measurements say in a window of this width."""
    one.resize(width)
    asked = {**limits, "locale": LANGUAGES[language], "width": width}
    how = f"{width} px{', elder' if limits is ELDER else ''}"
    return [f"{how}: {fault}" for fault in one.page.evaluate(MEASURE, asked)]


def titled(one: Visitor, visitors: Visitors) -> list[str]:
    """Two pages have two titles. The answer to a form may be called what its page is called."""
    title = one.page.title()
    other = one.page.url if one.posted else visitors.titles.setdefault(title, one.page.url)
    return [] if other == one.page.url else [f"{title} is the title of {other} too"]


@pytest.mark.parametrize("name", ["home", "case-asked", "task-deciding"])
def test_text_grows_with_the_reader(visitors: Visitors, name: str, tmp_path: Path) -> None:
    one = visitors.go(name, elder=True)
    root, body = one.page.locator("html"), one.page.locator("body")
    expect(root).to_have_attribute("data-mode", "elder")
    # As in a browser whose owner set text to half as large again.
    size = root.evaluate("root => parseFloat(getComputedStyle(root).fontSize)")
    root.evaluate("(root, size) => { root.style.fontSize = `${size}px` }", size * 1.5)
    faults = measured(one, "zh", PHONE, {**ELDER, "text": 26})
    size = body.evaluate("body => parseFloat(getComputedStyle(body).fontSize)")
    complain(one, tmp_path, [*faults, *([f"text of {size} px"] if size < LARGEST else [])])


@pytest.mark.parametrize("name", WALKED)
def test_tab_reaches_everything_in_its_order_and_shows_where_it_is(
    visitors: Visitors, name: str, tmp_path: Path
) -> None:
    one = visitors.go(name)
    stops = one.page.evaluate(f"{STOPS}.mark()")
    for _ in stops:
        one.page.keyboard.press("Tab")
    met = one.page.evaluate("window.met")
    faults = [f"cannot be seen to have the focus: {stop['name']}" for stop in met if not stop["shown"]]
    order = [stop["n"] for stop in met]
    if order != list(range(len(stops))):
        faults.append(f"{order} instead of {stops}")
    complain(one, tmp_path, faults)
