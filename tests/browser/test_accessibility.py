"""Every page in every state, in both languages and both modes: the rules of axe, and the numbers of 适老化.

Numbers: targets of 44 px, in elder mode 60 px; text of 14 px, in elder mode 18 px, and 30 px where the reader
wants it; lines of 1.3 times the text, in elder mode paragraphs 1.3 times as far apart as lines; contrast by
axe; no scrolling sideways from 320 px on.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.browser.scene import PLACES, Role, Scene, add_transient, set_up
from tests.browser.town import Town
from tests.browser.visitor import CHROMIUM, DESKTOP, FLAGS, PHONE, Visitor, visitor

pytestmark = pytest.mark.browser

NARROW = 320
LARGEST = 30
NORMAL = {"target": 44, "text": 14, "gap": 0}
ELDER = {"target": 60, "text": 18, "gap": 1.3}
AXE = files("axe_playwright_python").joinpath("axe.min.js").read_text("utf-8")
MEASURE = Path(__file__).with_name("measure.js").read_text("utf-8")
STOPS = Path(__file__).with_name("stops.js").read_text("utf-8")
VARIANTS = {
    "zh": ("zh-CN", False),
    "zh-elder": ("zh-CN", True),
    "en": ("en", False),
    "en-elder": ("en", True),
}
LOOKED_AT = [
    pytest.param(variant, name, id=f"{variant}-{name}")
    for variant in VARIANTS
    for name, place in PLACES.items()
    if variant == "zh" or not place.twin
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
def scene(town: Town) -> Iterator[Scene]:
    """Everything stands still, so that all variants see the same."""
    made = set_up(town)
    with town.nobody_works():
        yield add_transient(town, made)


@dataclass
class Crowd:
    """One visitor for each role, and the address of every title that they have seen."""

    browser: Browser
    town: Town
    scene: Scene
    visitors: dict[Role, Visitor] = field(default_factory=dict)
    titles: dict[str, str] = field(default_factory=dict)

    def go(self, variant: str, name: str) -> Visitor:
        """Lead the visitor whom it takes to a page, in this language and mode."""
        role = PLACES[name].role
        if role not in self.visitors:
            session = self.scene.sessions[role]
            self.visitors[role] = visitor(self.browser, self.town.origin, session=session)
        one = self.visitors[role]
        one.prefer(*VARIANTS[variant])
        one.resize(DESKTOP)
        one.faults.clear()
        PLACES[name].way(one, self.scene)
        one.page.wait_for_load_state()
        return one


@pytest.fixture(scope="module")
def crowd(browser: Browser, town: Town, scene: Scene) -> Iterator[Crowd]:
    """Everybody whom the tests need."""
    made = Crowd(browser, town, scene)
    yield made
    for one in made.visitors.values():
        one.context.close()


def complain(one: Visitor, folder: Path, faults: list[str]) -> None:
    """Fail with all that is wrong and a picture of it."""
    if faults:
        pytest.fail("\n".join([str(one.photograph(folder, "page")), *faults]), pytrace=False)


@pytest.mark.parametrize(("variant", "name"), LOOKED_AT)
def test_everybody_can_use_this_page(crowd: Crowd, variant: str, name: str, tmp_path: Path) -> None:
    one = crowd.go(variant, name)
    complain(one, tmp_path, [*axe(one, variant), *measured(one, variant), *titled(one, crowd), *one.faults])


def axe(one: Visitor, variant: str) -> list[str]:
    """What axe says is wrong, and what it could not measure of contrasts."""
    if variant == "en-elder":
        # Its words are those of the English pages, its looks those of the Chinese ones in elder mode.
        return []
    # Colours do not depend on the language, and are what takes axe longest.
    options = {
        "resultTypes": ["violations", "incomplete"],
        "rules": {"target-size": {"enabled": True}, "color-contrast": {"enabled": variant != "en"}},
    }
    found: dict[str, Any] = one.page.evaluate(
        f"async options => {{ {AXE}; const {{ violations, incomplete }} = await axe.run(options);"
        " return { violations, incomplete } }",
        options,
    )
    unsure = [rule for rule in found["incomplete"] if rule["id"] == "color-contrast"]
    return [
        f"{rule['id']}: {rule['help']}: {node['html'][:200]}"
        for rule in [*found["violations"], *unsure]
        for node in rule["nodes"]
    ]


def measured(one: Visitor, variant: str) -> list[str]:
    """What our own measurements say of a wide and of a narrow window."""
    locale, elder = VARIANTS[variant]
    limits = {**(ELDER if elder else NORMAL), "locale": locale}
    found = []
    for width in (DESKTOP, NARROW):
        one.resize(width)
        faults = one.page.evaluate(MEASURE, {**limits, "width": width})
        found += [f"{width} px: {fault}" for fault in faults]
    return found


def titled(one: Visitor, crowd: Crowd) -> list[str]:
    """Two pages have two titles. The answer to a form may be called what its page is called."""
    title = one.page.title()
    other = one.page.url if one.posted else crowd.titles.setdefault(title, one.page.url)
    return [] if other == one.page.url else [f"{title} is the title of {other} too"]


@pytest.fixture(scope="module")
def roomy(browser: Browser) -> Iterator[Browser]:
    """A browser whose owner set text to half as large again."""
    flags = [*FLAGS, "--blink-settings=defaultFontSize=24"]
    made = browser.browser_type.launch(executable_path=CHROMIUM, args=flags)
    yield made
    made.close()


@pytest.mark.parametrize("name", ["home", "case-asked", "task-deciding"])
def test_text_grows_with_the_reader(
    roomy: Browser, town: Town, scene: Scene, name: str, tmp_path: Path
) -> None:
    session = scene.sessions[PLACES[name].role]
    one = visitor(roomy, town.origin, locale="zh-CN", elder=True, width=PHONE, session=session)
    PLACES[name].way(one, scene)
    faults = one.page.evaluate(MEASURE, {**ELDER, "text": 26, "locale": "zh-CN", "width": PHONE})
    size = one.page.locator("body").evaluate("body => parseFloat(getComputedStyle(body).fontSize)")
    complain(one, tmp_path, [*faults, *([f"text of {size} px"] if size < LARGEST else [])])
    one.context.close()


@pytest.mark.parametrize("name", WALKED)
def test_tab_reaches_everything_in_its_order_and_shows_where_it_is(
    crowd: Crowd, name: str, tmp_path: Path
) -> None:
    one = crowd.go("zh", name)
    stops = one.page.evaluate(f"{STOPS}.mark()")
    for _ in stops:
        one.page.keyboard.press("Tab")
    met = one.page.evaluate("window.met")
    faults = [f"cannot be seen to have the focus: {stop['name']}" for stop in met if not stop["shown"]]
    order = [stop["n"] for stop in met]
    if order != list(range(len(stops))):
        faults.append(f"{order} instead of {stops}")
    complain(one, tmp_path, faults)
