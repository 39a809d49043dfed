"""The page folders of all services, and the environment that every page of a process is rendered in."""

from functools import lru_cache
from pathlib import Path

from jinja2 import Environment
from starlette.requests import Request

from deploy.services import SERVICES
from shared.http.problems import Problem
from shared.http.rendering import STATIC, page_environment, problem_page

_ROOT = Path(__file__).resolve().parent.parent


def page_folders() -> list[Path]:
    """The folders of the services that have pages; those of shared/http are always there."""
    folders = (_ROOT / "services" / service / "pages" for service in SERVICES)
    return [folder for folder in folders if folder.is_dir()]


def static_folder() -> Path:
    """What is served under /static/."""
    return STATIC


@lru_cache
def environment(*, development: bool = False) -> Environment:
    """One environment for all pages; `development` marks each of them as not the real thing."""
    return page_environment(page_folders(), development=development)


def render_problem(request: Request, problem: Problem) -> str:
    """A problem as a page, for `install_edge`."""
    development = bool(getattr(request.app.state, "development", False))
    return problem_page(environment(development=development))(request, problem)
