"""The page behind every problem's `type`: all codes that this process can answer with, zh and en."""

from dataclasses import dataclass
from functools import lru_cache

from fastapi import Request
from jinja2 import Environment
from starlette.responses import RedirectResponse, Response

from shared.errors import AppError, error_classes
from shared.http.doors import doors
from shared.http.rendering import page, page_environment


@dataclass(frozen=True, slots=True)
class Group:
    """Codes that the same people meet: those with these first words, and those named."""

    id: str
    zh: str
    en: str
    words: frozenset[str]
    codes: frozenset[str] = frozenset()

    def has(self, code: str) -> bool:
        """Whether the code is named, or has one of the words."""
        return code in self.codes or code.partition(".")[0] in self.words


OPERATORS = Group(
    "operators",
    "系统运维",
    "For those who run the installation",
    frozenset(
        ("broker", "client-key", "clock", "database", "deploy", "peer", "privacy", "settings", "trouble")
    ),
    frozenset(("case.unknown", "matter.version-frozen", "notice.params-wrong")),
)
REQUESTS = Group(
    "requests",
    "请求与系统状态",
    "Requests, and the state of the system",
    frozenset(("idempotency", "internal", "request", "resource", "service")),
)
GROUPS = (
    Group(
        "people",
        "办事与查询",
        "Applying, and what comes of it",
        frozenset(("case", "consent", "contact", "matter", "notice", "upload")),
    ),
    Group("log-in", "登录与账号", "Logging in", frozenset(("account", "auth"))),
    Group("desk", "工作人员办理", "For officers", frozenset(("decision", "task"))),
    REQUESTS,
    OPERATORS,
)
"""In the order of the page."""


def group_of(code: str) -> Group:
    """Who meets a code; everybody, where nobody has said it. A test holds that it is said of all of ours."""
    if OPERATORS.has(code):
        return OPERATORS
    return next((group for group in GROUPS if group.has(code)), REQUESTS)


router = doors(include_in_schema=False)


@router.get("/problems")
async def list_problems(request: Request) -> Response:
    """One row a code, those that the same people meet together."""
    pages = _pages(development=bool(getattr(request.app.state, "development", False)))
    values = {"groups": grouped()}
    return page(pages, request, "problems.html", values)


@router.get("/problems/{code}")
async def show_problem(code: str) -> RedirectResponse:
    """The row of one code; an unknown one leads to the list."""
    known = any(cls.code == code for cls in error_classes())
    return RedirectResponse(f"/problems#{code}" if known else "/problems", 303)


def grouped() -> list[tuple[Group, list[type[AppError]]]]:
    """Every code in its group."""
    found: dict[str, list[type[AppError]]] = {group.id: [] for group in GROUPS}
    for cls in error_classes():
        found[group_of(cls.code).id].append(cls)
    return [(group, found[group.id]) for group in GROUPS if found[group.id]]


@lru_cache
def _pages(*, development: bool) -> Environment:
    """No service's pages are needed for these."""
    return page_environment([], development=development)
