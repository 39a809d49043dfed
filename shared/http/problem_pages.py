"""The page behind every problem's `type`: all codes that this process can answer with, zh and en."""

from functools import lru_cache

from fastapi import Request
from jinja2 import Environment
from starlette.responses import RedirectResponse, Response

from shared.errors import error_classes
from shared.http.doors import doors
from shared.http.rendering import page, page_environment

router = doors(include_in_schema=False)


@router.get("/problems")
async def list_problems(request: Request) -> Response:
    """One row a code."""
    pages = _pages(development=bool(getattr(request.app.state, "development", False)))
    values = {"problems": list(error_classes())}
    return page(pages, request, "problems.html", values)


@router.get("/problems/{code}")
async def show_problem(code: str) -> RedirectResponse:
    """The row of one code; an unknown one leads to the list."""
    known = any(cls.code == code for cls in error_classes())
    return RedirectResponse(f"/problems#{code}" if known else "/problems", 303)


@lru_cache
def _pages(*, development: bool) -> Environment:
    """No service's pages are needed for these."""
    return page_environment([], development=development)
