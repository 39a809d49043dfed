"""What a door reads: the media type that it takes, text that can be kept, and JSON that means one thing.

Parsers differ over a name that stands twice, over NaN and over 1e999; what one checks another may then read
otherwise (RFC 8259 section 4, RFC 7493). Nesting and length without end cost more to look at than to send.
"""

import json
import math
from typing import Any, NoReturn

from fastapi import Request
from fastapi.params import Form
from starlette.datastructures import FormData

from shared.errors import AppError, BadRequest, FieldError, Invalid, NotFound
from shared.http.body import CONTROL_CHARACTER, has_control

DEEPEST = 32
"""No body of ours nests deeper; recursion over what came in stays far from its limit."""
MOST_VALUES = 20_000
"""Values in one body, names of members not counted."""

_FORM_TYPES = ("application/x-www-form-urlencoded", "multipart/form-data")


class UnsupportedMediaType(AppError):
    """The body is of another kind than this door takes."""

    code = "request.unsupported-media-type"
    status = 415
    title_zh = "不支持此内容类型"
    title_en = "This media type is not supported here"


async def check_request(request: Request) -> None:
    """A dependency of every route, before anything else looks at the request.

    Raises NotFound for a path that can name nothing, UnsupportedMediaType, BadRequest for JSON of several
    meanings, and Invalid for control characters in a form.
    """
    if has_control(request.path_params):
        raise NotFound
    field = getattr(request.scope.get("route"), "body_field", None)
    if field is None:
        return
    sent = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if isinstance(field.field_info, Form):
        if sent and sent not in _FORM_TYPES:
            raise _unsupported(" / ".join(_FORM_TYPES))
        _check_form(await request.form())
        return
    body = await request.body()
    if body:
        if sent != "application/json" and not (sent.startswith("application/") and sent.endswith("+json")):
            raise _unsupported("application/json")
        check_json(body)


def check_json(body: bytes) -> None:
    """Raises BadRequest for names that stand twice, numbers without a value, and what is too deep or long."""
    try:
        found = json.loads(body, object_pairs_hook=_once_each, parse_constant=_no_number, parse_float=_finite)
    except (ValueError, RecursionError):
        raise BadRequest("请求体不是有效的 JSON", "the body is not valid JSON") from None
    _check_size(found)


def _check_form(form: FormData) -> None:
    wrong = [
        FieldError("" if has_control(name) else f"/{name}", *CONTROL_CHARACTER)
        for name, value in form.multi_items()
        if has_control(name) or has_control(value)
    ]
    if wrong:
        raise Invalid(fields=wrong)


def _check_size(found: object) -> None:
    left = MOST_VALUES
    waiting: list[tuple[Any, int]] = [(found, 0)]
    while waiting:
        value, depth = waiting.pop()
        if isinstance(value, dict):
            value = list(value.values())
        if not isinstance(value, list):
            continue
        left -= len(value)
        if left < 0:
            raise BadRequest("请求体的内容过多", "the body has too many values")
        if depth == DEEPEST and value:
            raise BadRequest("请求体的嵌套层次过多", "the body is nested too deeply")
        waiting.extend((inner, depth + 1) for inner in value)


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise BadRequest("同一对象中有重复的名称", "a name stands twice in one object")
    return found


def _no_number(_: str) -> NoReturn:
    raise BadRequest("NaN 和 Infinity 不是 JSON 数字", "NaN and Infinity are no numbers of JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise BadRequest("数字过大", "a number is too large")
    return number


def _unsupported(taken: str) -> UnsupportedMediaType:
    return UnsupportedMediaType(f"请以 {taken} 提交", f"send {taken}")
