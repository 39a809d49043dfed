"""Checks a form against the JSON Schema of its matter, and says what is wrong in words for people."""

from collections.abc import Iterator, Mapping
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from shared.catalogue.pointers import pointer_of
from shared.errors import FieldError
from shared.typed import clean_address, clean_code, clean_text, shows_nothing, turns_around

MAX_DEPTH = 20
"""No form nests deeper; the bound keeps a hostile one from exhausting the stack."""
ID_NUMBER, MOBILE, EMAIL, DATE = "id-number", "mobile", "email", "date"
FORMATS = (DATE, ID_NUMBER, MOBILE, EMAIL)
"""What a text field may be besides free text: `mobile` is a number that takes text messages."""
MAX_NAME = 64
"""Longer names of unknown fields are cut: they come from outside and travel back in the answer."""


def cleaned(schema: Mapping[str, Any], value: Any, depth: int = 0) -> Any:
    """A form as it is judged and kept: every text without what its sender could not see. What fits no schema
    comes back as it is."""
    if isinstance(value, str):
        return _cleaned_text(schema, value)
    properties = _mapping(schema).get("properties", {})
    if not isinstance(value, Mapping) or depth > MAX_DEPTH:
        return value
    return {name: cleaned(_mapping(properties.get(name)), below, depth + 1) for name, below in value.items()}


def _cleaned_text(schema: Mapping[str, Any], text: str) -> str:
    if "enum" in schema or "const" in schema:
        return text
    match schema.get("format"):
        case "id-number":
            return clean_code(text).upper()
        case "mobile":
            return clean_code(text)
        case "email" | "date":
            return clean_address(text)
        case _:
            return clean_text(text)


class FormChecker:
    """The compiled JSON Schema of one form."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._validator = Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)

    def errors(self, form: object) -> list[FieldError]:
        """Everything that is wrong, ordered by pointer; at most one error for a pointer and code."""
        found = {(error.pointer, error.code): error for error in _unstorable(form, ())}
        for problem in self._validator.iter_errors(form):
            for error in _told(problem):
                found.setdefault((error.pointer, error.code), error)
        return [found[key] for key in sorted(found)]


def _told(problem: ValidationError) -> Iterator[FieldError]:
    path, schema = list(problem.absolute_path), _mapping(problem.schema)
    instance: Any = problem.instance
    if problem.validator == "required":
        for name in schema["required"]:
            if name not in instance:
                yield FieldError(pointer_of([*path, name]), "required", "请填写此项。", "This is required.")
        return
    if problem.validator == "additionalProperties":
        known = schema.get("properties", {})
        for name in instance:
            if name not in known:
                yield FieldError(
                    pointer_of([*path, _printable(name)]),
                    "unknown-field",
                    "没有此填写项。",
                    "There is no such field.",
                )
        return
    code, zh, en = _words(problem)
    yield FieldError(pointer_of(path), code, zh, en)


def _words(problem: ValidationError) -> tuple[str, str, str]:
    value: Any = problem.validator_value
    match problem.validator:
        case "type":
            zh, en = _TYPES.get(value if isinstance(value, str) else "", ("其他类型的值", "another type"))
            return "wrong-type", f"此项应为{zh}。", f"This must be {en}."
        case "maxLength":
            return "too-long", f"最多{value}个字。", f"At most {value} characters."
        case "minLength":
            return "too-short", f"至少{value}个字。", f"At least {value} characters."
        case "enum" | "const":
            choices = value if problem.validator == "enum" else [value]
            listed = ", ".join(str(choice) for choice in choices)
            return "not-a-choice", f"只能从以下选项中选择：{listed}。", f"Choose one of: {listed}."
        case "format" if value == "date":
            return "not-a-date", "请填写真实日期，例如 2026-03-01。", "Give a real date, such as 2026-03-01."
        case "pattern":
            hint = _mapping(problem.schema).get("x-hint", {})
            return (
                "wrong-pattern",
                hint.get("zh", "格式不正确。"),
                hint.get("en", "This is not in the right form."),
            )
        case "minimum" | "exclusiveMinimum" | "maximum" | "exclusiveMaximum":
            return "out-of-range", f"超出允许范围（界限：{value}）。", f"Out of range (the bound is {value})."
        case _:
            return "invalid", "此项不符合要求。", "This is not valid."


def _mapping(schema: object) -> Mapping[str, Any]:
    # A schema may be `true` or `false` too; no error comes out of one that we lint.
    return schema if isinstance(schema, Mapping) else {}


_TYPES = {
    "string": ("文字", "a text"),
    "boolean": ("是或否（true/false）", "true or false"),
    "integer": ("整数", "a whole number"),
    "number": ("数字", "a number"),
    "object": ("一组填写项", "a group of fields"),
    "array": ("列表", "a list"),
}


def _unstorable(value: object, path: tuple[object, ...]) -> Iterator[FieldError]:
    """Control characters and half surrogates: no keyboard types them, and a database or an encoder chokes.
    Controls of direction and texts without anything to see: people would read something else."""
    if len(path) > MAX_DEPTH:
        yield FieldError(pointer_of(path), "too-deep", "嵌套层次过多。", "This is nested too deeply.")
    elif isinstance(value, str):
        if any(_bad(char) for char in value) or turns_around(value):
            yield FieldError(
                pointer_of(path),
                "bad-character",
                "含有无法使用的字符。",
                "This has characters that cannot be used.",
            )
        elif value and shows_nothing(value):
            yield FieldError(
                pointer_of(path), "shows-nothing", "此项没有可见的文字。", "Nothing can be seen in this."
            )
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _unstorable(inner, (*path, _printable(name)))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _unstorable(inner, (*path, number))


def _bad(char: str) -> bool:
    point = ord(char)
    return (point < 0x20 and char not in "\n\t") or point == 0x7F or 0xD800 <= point <= 0xDFFF


def _printable(name: object) -> str:
    return "".join("?" if _bad(char) else char for char in str(name)[:MAX_NAME])
