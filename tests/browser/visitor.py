"""A person at a browser: what they see, and whatever went wrong behind it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, Response

from shared.auth.deps import COOKIE as SESSION_COOKIE
from shared.http.locale import COOKIE as LANG_COOKIE
from shared.http.preferences import ELDER, MODE_COOKIE

CHROMIUM = "/usr/bin/chromium"
# Without a sandbox it runs as root; without the others it asks the world for updates at every start.
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PHONE = 390
DESKTOP = 1280
_POLICY = ("default-src 'self'", "frame-ancestors 'none'", "object-src 'none'")
WAIT_MS = 10_000


@dataclass(slots=True)
class Visitor:
    """One browser profile with one tab."""

    origin: str
    context: BrowserContext
    page: Page
    faults: list[str] = field(default_factory=list)
    posted: bool = False
    """Whether the page answers a form."""

    def go(self, path: str) -> None:
        """Open a page of ours by its address."""
        self.page.goto(self.origin + path)

    def prefer(self, locale: str | None, elder: bool) -> None:
        """Have chosen a language and a mode on an earlier visit."""
        self._keep(LANG_COOKIE, locale)
        self._keep(MODE_COOKIE, ELDER if elder else "normal")

    def log_in(self, session: str | None) -> None:
        """Have logged in on an earlier visit."""
        self._keep(SESSION_COOKIE, session)

    def _keep(self, name: str, value: str | None) -> None:
        if value is not None:
            self.context.add_cookies([{"name": name, "value": value, "url": self.origin}])

    def resize(self, width: int) -> None:
        """Make the window this wide."""
        size = self.page.viewport_size
        if size is None or size["width"] != width:
            self.page.set_viewport_size({"width": width, "height": 900})

    def photograph(self, folder: Path, name: str) -> Path:
        """The whole page as a picture."""
        path = folder / f"{name}.png"
        self.page.screenshot(path=path, full_page=True)
        return path


Visit = Callable[..., Visitor]


def visitor(
    browser: Browser,
    origin: str,
    *,
    locale: str | None = None,
    elder: bool = False,
    javascript: bool = True,
    width: int = DESKTOP,
    session: str | None = None,
) -> Visitor:
    """Somebody new, or with the cookies of an earlier visit."""
    context = browser.new_context(
        locale=locale or "zh-CN",
        java_script_enabled=javascript,
        viewport={"width": width, "height": 900},
    )
    context.set_default_timeout(WAIT_MS)
    made = Visitor(origin, context, context.new_page())
    made.prefer(locale, elder)
    made.log_in(session)
    _watch(made)
    return made


def _watch(made: Visitor) -> None:
    """Note errors on the console, other hosts, and pages or files that are not as they must be."""
    host = urlsplit(made.origin).netloc

    def heard(message: ConsoleMessage) -> None:
        # That a page answers 404 is said there as well; `_fault_of` knows better which answers are wrong.
        if message.type == "error" and not message.text.startswith("Failed to load resource"):
            made.faults.append(f"console: {message.text}")

    def asked(request: Request) -> None:
        if urlsplit(request.url).netloc != host:
            made.faults.append(f"another host: {request.url}")

    def answered(response: Response) -> None:
        if response.request.resource_type == "document":
            made.posted = response.request.method == "POST"
        fault = _fault_of(response)
        if fault:
            made.faults.append(f"{fault}: {response.url}")

    made.context.on("console", heard)
    made.context.on("weberror", lambda error: made.faults.append(f"script: {error.error}"))
    made.context.on("request", asked)
    made.context.on("response", answered)


def _fault_of(response: Response) -> str:
    """What is wrong with an answer; "" when nothing is. Pages may refuse, files must be there."""
    page = response.request.resource_type == "document"
    if response.status >= (500 if page else 400):
        return str(response.status)
    policy = response.headers.get("content-security-policy", "")
    if page and not all(part in policy for part in _POLICY):
        return f"content security policy {policy!r}"
    return ""
