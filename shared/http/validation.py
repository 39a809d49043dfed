"""What the framework's checks found wrong with a request, in our codes and in both languages.

Messages never repeat the refused value.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi.exceptions import RequestValidationError

from shared.errors import AppError, BadRequest, FieldError, Invalid

_UNKNOWN_FIELD = "request.unknown-field"

# pydantic's error types -> our field code and words; {} take the limits that pydantic reports.
_WORDS: dict[str, tuple[str, str, str]] = {
    "missing": ("field.missing", "此项必填", "this field is required"),
    "extra_forbidden": (_UNKNOWN_FIELD, "没有此字段", "there is no such field"),
    "string_too_long": ("field.too-long", "最多 {max_length} 个字符", "at most {max_length} characters"),
    "string_too_short": ("field.too-short", "至少 {min_length} 个字符", "at least {min_length} characters"),
    "bytes_too_long": ("field.too-long", "最多 {max_length} 字节", "at most {max_length} bytes"),
    "too_long": ("field.too-many", "最多 {max_length} 项", "at most {max_length} items"),
    "too_short": ("field.too-few", "至少 {min_length} 项", "at least {min_length} items"),
    "string_pattern_mismatch": ("field.wrong-form", "格式不正确", "it does not have the right form"),
    "greater_than": ("field.too-small", "必须大于 {gt}", "must be greater than {gt}"),
    "greater_than_equal": ("field.too-small", "不得小于 {ge}", "must be at least {ge}"),
    "less_than": ("field.too-large", "必须小于 {lt}", "must be less than {lt}"),
    "less_than_equal": ("field.too-large", "不得大于 {le}", "must be at most {le}"),
    "enum": ("field.not-a-choice", "不是可选项", "it is not one of the choices: {expected}"),
    "literal_error": ("field.not-a-choice", "不是可选项", "it is not one of the choices: {expected}"),
    "date_past": ("field.wrong-date", "必须是过去的日期", "must be a date in the past"),
    "date_future": ("field.wrong-date", "必须是将来的日期", "must be a date in the future"),
    "model_attributes_type": ("field.wrong-type", "应为 JSON 对象", "must be a JSON object"),
}
# The rest of pydantic's types by how they begin.
_KINDS: tuple[tuple[str, str, str], ...] = (
    ("string", "应为文本", "must be a text"),
    ("int", "应为整数", "must be a whole number"),
    ("float", "应为数字", "must be a number"),
    ("decimal", "应为数字", "must be a number"),
    ("bool", "应为 true 或 false", "must be true or false"),
    (
        "datetime",
        "应为带时区的时间，例如 2026-11-23T09:00:00+08:00",
        "must be a time with its zone, 2026-11-23T09:00:00+08:00",
    ),
    ("timezone", "时间须带时区", "the time needs its zone"),
    ("date", "应为日期，例如 2026-11-23", "must be a date, 2026-11-23"),
    ("uuid", "应为 UUID", "must be a UUID"),
    ("list", "应为数组", "must be a list"),
    ("dict", "应为 JSON 对象", "must be a JSON object"),
    ("model", "应为 JSON 对象", "must be a JSON object"),
)


class UnknownField(Invalid):
    """The body has fields that this door does not know; a newer or a misspelt client sent it."""

    code = _UNKNOWN_FIELD
    title_zh = "提交的内容包含未知字段"
    title_en = "The request has fields that are not known here"


def error_of_validation(error: RequestValidationError) -> AppError:
    """400 for a body that is no JSON, 422 with pointers for everything else."""
    found = error.errors()
    if any(item["type"] in ("json_invalid", "json_type") for item in found):
        return BadRequest("请求体不是有效的 JSON", "the body is not valid JSON")
    fields = [field_error(item) for item in found]
    if all(field.code == _UNKNOWN_FIELD for field in fields):
        return UnknownField(fields=fields)
    return Invalid(fields=fields)


def field_errors(errors: Sequence[Mapping[str, Any]]) -> list[FieldError]:
    """The same words for a pydantic ValidationError that a command met: `field_errors(error.errors())`."""
    return [field_error({**item, "loc": ("body", *item["loc"])}) for item in errors]


def field_error(item: Mapping[str, Any]) -> FieldError:
    """One of pydantic's errors. `loc` begins with where the value came from (body, query, path, header)."""
    kind = str(item["type"])
    context: Mapping[str, Any] = item.get("ctx") or {}
    pointer = pointer_of(item["loc"])
    if {"zh", "en"} <= context.keys():
        return FieldError(
            pointer, str(context.get("code", "field.invalid")), str(context["zh"]), str(context["en"])
        )
    if kind in _WORDS:
        code, zh, en = _WORDS[kind]
        return FieldError(pointer, code, zh.format_map(context), en.format_map(context))
    for prefix, zh, en in _KINDS:
        if kind.startswith(prefix):
            return FieldError(pointer, "field.wrong-type", zh, en)
    return FieldError(pointer, "field.invalid", "内容有误", "the value is not valid")


def pointer_of(loc: Sequence[object]) -> str:
    """A JSON pointer (RFC 6901) into the body; `query:name`, `path:name`, `header:name` for the rest."""
    where, *path = loc
    if where != "body":
        return f"{where}:{'/'.join(str(part) for part in path)}"
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)
