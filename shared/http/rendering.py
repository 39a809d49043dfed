"""Pages: one Jinja environment, both languages side by side in each template, dates as people in China read
them.

Templates say every sentence as `t("中文", "English")` and every code as `word("state", code)`; the words of
all
codes stand in pages/words.yaml. A name that a template expects and does not get is an error, not a gap.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import yaml
from babel.dates import format_date, format_time
from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from shared.auth.deps import csrf_token, visitor_of
from shared.errors import AppError
from shared.http.locale import Locale, locale_of
from shared.http.preferences import LONGEST_BACK, is_elder
from shared.http.problems import Problem, RenderHtml, retry_after
from shared.legal_time import LEGAL_ZONE, legal_day

PAGES = Path(__file__).with_name("pages")
STATIC = Path(__file__).with_name("static")
_BABEL = {Locale.ZH.value: "zh_Hans_CN", Locale.EN.value: "en_GB"}


def page_environment(folders: Sequence[Path], *, development: bool = False) -> Environment:
    """The environment of a process; `folders` are those of its services, shared/http/pages comes first.

    `development` marks every page as not the real thing.
    """
    environment = Environment(
        loader=FileSystemLoader([PAGES, *folders]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(day=_day, moment=_moment, within=_within, pick=_pick, iso=_iso)
    environment.globals.update(t=_t, word=_word, days_between=_days_between, static=static_url)
    environment.globals["development"] = development
    return environment


def page(
    environment: Environment,
    request: Request,
    template: str,
    values: Mapping[str, Any],
    *,
    status: int = 200,
    refused: AppError | None = None,
    back: str | None = None,
) -> Response:
    """One page in the visitor's language and mode. The layout uses all that is added to `values` here.

    `back` is where the page can be read again; a page that answers a form must name it. `refused` is why
    what was sent was not taken: it gives the status, and says when to come again.
    """
    locale = locale_of(request)
    text = environment.get_template(template).render(
        {
            **values,
            "locale": locale.value,
            "elder": is_elder(request),
            "back": back or _address(request),
            "visitor": visitor_of(request),
            "csrf_token": csrf_token(request),
            "idempotency_key": str(uuid4()),
        }
    )
    headers = {"Content-Language": locale.value, "Cache-Control": "no-store"}
    if refused is not None:
        status, headers = refused.status, headers | retry_after(refused)
    return HTMLResponse(text, status, headers)


def problem_page(environment: Environment) -> RenderHtml:
    """What renders problems as pages, for `install_edge`."""

    def render(request: Request, problem: Problem) -> str:
        return environment.get_template("error.html").render(
            problem=problem,
            locale=problem.locale.value,
            elder=is_elder(request),
            back=_address(request),
            visitor=visitor_of(request),
            csrf_token=csrf_token(request),
        )

    return render


def _address(request: Request) -> str:
    """Where a page can be read again in another language or mode; nothing that answers a form can."""
    if request.method != "GET":
        return "/"
    asked = [(name, value) for name, value in request.query_params.multi_items() if name != "lang"]
    address = request.url.path + (f"?{urlencode(asked)}" if asked else "")
    return address if len(address) <= LONGEST_BACK else "/"


@lru_cache
def words() -> Mapping[str, Mapping[str, Mapping[str, str]]]:
    """What codes are called on pages: kind -> code -> {zh, en}."""
    found: dict[str, dict[str, dict[str, str]]] = yaml.safe_load((PAGES / "words.yaml").read_text("utf-8"))
    return found


@lru_cache
def static_url(name: str) -> str:
    """The address of a file in shared/http/static, which changes with its contents."""
    return f"/static/{name}?v={sha256((STATIC / name).read_bytes()).hexdigest()[:12]}"


@pass_context
def _t(context: Context, zh: str, en: str) -> str:
    return zh if _is_chinese(context) else en


def word(kind: str, code: str | None, locale: str) -> str:
    """What a code is called. One that a newer service says has no words yet: better the bare code than no
    page."""
    entry = words()[kind].get(code or "")
    return (code or "") if entry is None else entry["zh" if locale == Locale.ZH else "en"]


def day(value: str | date | datetime, locale: str) -> str:
    """A day as people read it. A civil date stays what it is; a moment is shown as the day in Beijing."""
    return format_date(_civil_day(value), format="long", locale=_BABEL[locale])


@pass_context
def _word(context: Context, kind: str, code: str | None) -> str:
    return word(kind, code, context["locale"])


@pass_context
def _within(context: Context, names: Any) -> str:
    """The name in the page's language, of a matter's Names or of {zh, en}."""
    if isinstance(names, Mapping):
        return str(names["zh" if _is_chinese(context) else "en"])
    return str(names.within(context["locale"]))


@pass_context
def _pick(context: Context, item: Mapping[str, Any], name: str) -> Any:
    """`item["name_zh"]` or `item["name_en"]`."""
    return item[f"{name}_{'zh' if _is_chinese(context) else 'en'}"]


@pass_context
def _day(context: Context, value: str | date | datetime) -> str:
    return day(value, context["locale"])


@pass_context
def _moment(context: Context, value: str | datetime) -> str:
    at = _aware(value).astimezone(LEGAL_ZONE)
    locale = _BABEL[context["locale"]]
    return f"{format_date(at, format='long', locale=locale)} {format_time(at, format='HH:mm', locale=locale)}"


def _iso(value: str | date | datetime) -> str:
    return value if isinstance(value, str) else value.isoformat()


def _days_between(start: date, end: str | date | datetime) -> int:
    """Civil days from one day to the day of the other; negative when it has passed."""
    return (_civil_day(end) - start).days


def _civil_day(value: str | date | datetime) -> date:
    if isinstance(value, str) and len(value) == len("2026-11-23"):
        return date.fromisoformat(value)
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    return legal_day(_aware(value))


def _aware(value: str | datetime) -> datetime:
    at = datetime.fromisoformat(value) if isinstance(value, str) else value
    if at.tzinfo is None:
        raise ValueError("a moment without a time zone cannot be shown")
    return at


def _is_chinese(context: Context) -> bool:
    return bool(context["locale"] == Locale.ZH.value)
