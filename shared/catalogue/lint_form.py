"""What must hold inside the form of a matter beyond being a JSON Schema."""

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from jsonschema import Draft202012Validator

from shared.catalogue.form import DATE, FORMATS
from shared.catalogue.pointers import FormField, fields_of, schema_path
from shared.catalogue.positions import Loc

KEYWORDS = frozenset(
    {
        *("$schema", "type", "title", "description", "properties", "required", "additionalProperties"),
        *("enum", "const", "format", "pattern", "minLength", "maxLength", "minimum", "maximum"),
        *("x-personal", "x-title-en", "x-hint", "x-enum-names", "x-not-future", "x-at-least-months-ago"),
    }
)
"""All that a form may use: what pages can show and what messages can explain."""
IDENTIFYING = (
    "name",
    "id_number",
    "phone",
    "mobile",
    "email",
    "address",
    "birth_on",
    "bank_account",
    "plate_number",
)
TYPES = ("string", "boolean", "integer", "number", "object", "array")
MAX_TEXT = 2000


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong at `loc` of a matter, and what would be right."""

    loc: Loc
    wrong: str
    right: str


def form_findings(form: Mapping[str, Any]) -> Iterator[Finding]:
    """Everything that is wrong with a form."""
    problem = next(iter(Draft202012Validator(Draft202012Validator.META_SCHEMA).iter_errors(form)), None)
    if problem is not None:
        yield Finding(
            ("form", *problem.absolute_path), f"not JSON Schema: {problem.message}", "see JSON Schema 2020-12"
        )
        return
    if form.get("type") != "object":
        yield Finding(("form",), "the form is not an object", "write 'type: object' with 'properties'")
        return
    yield from _keywords(form, ("form",))
    yield from _object(form, ("form",))
    for field in fields_of(form):
        yield from _field(field)


def _field(field: FormField) -> Iterator[Finding]:
    loc, schema = ("form", *schema_path(field.path)), field.schema
    yield from _keywords(schema, loc)
    yield from _moments(schema, loc)
    name = field.path[-1]
    for key, about in (("title", "the label in Chinese"), ("x-title-en", "the label in English")):
        if not schema.get(key):
            yield Finding(loc, f"the field '{name}' has no '{key}'", f"add {about}")
    kind = schema.get("type")
    if kind not in TYPES:
        yield Finding(
            loc, f"the field '{name}' has no single type", f"add 'type', one of: {', '.join(TYPES)}"
        )
    elif kind == "object":
        yield from _object(schema, loc)
    elif kind == "array":
        yield Finding(
            loc, f"the field '{name}' is a list", "lists are not supported in forms yet; name single fields"
        )
    elif kind == "string":
        yield from _string(field, loc)


def _object(schema: Mapping[str, Any], loc: Loc) -> Iterator[Finding]:
    if schema.get("additionalProperties") is not False:
        yield Finding(loc, "unknown fields would be accepted here", "add 'additionalProperties: false'")
    known = list(schema.get("properties", {}))
    for number, name in enumerate(schema.get("required", ())):
        if name not in known:
            yield Finding(
                (*loc, "required", number), f"'{name}' is required but not a property", _near(name, known)
            )


def _string(field: FormField, loc: Loc) -> Iterator[Finding]:
    schema, name = field.schema, field.path[-1]
    if name in IDENTIFYING and not field.personal:
        yield Finding(
            loc, f"the field '{name}' identifies people but is not marked", "add 'x-personal: true'"
        )
    if "enum" in schema or "const" in schema:
        names = schema.get("x-enum-names", {})
        for value in schema.get("enum", ()):
            said = names.get(value) if isinstance(names, Mapping) else None
            if not (isinstance(said, Mapping) and said.get("zh") and said.get("en")):
                yield Finding(
                    (*loc, "enum"),
                    f"the choice '{value}' has no name",
                    f"add x-enum-names.{value} with zh and en",
                )
        return
    if "format" in schema:
        if schema["format"] not in FORMATS:
            yield Finding(
                (*loc, "format"),
                f"the format '{schema['format']}' is not checked",
                f"use {', '.join(FORMATS)} or 'pattern'",
            )
        if schema["format"] == DATE:
            return
    if "x-personal" not in schema and not field.personal:
        yield Finding(
            loc,
            f"the text field '{name}' does not say whether it is personal",
            "add 'x-personal: true' or false",
        )
    length = schema.get("maxLength")
    if not isinstance(length, int) or length > MAX_TEXT:
        yield Finding(
            loc, f"the text field '{name}' has no sensible bound", f"add 'maxLength', at most {MAX_TEXT}"
        )


def _moments(schema: Mapping[str, Any], loc: Loc) -> Iterator[Finding]:
    """Keywords that compare with the day of the application; intake reads them."""
    told = {"x-not-future", "x-at-least-months-ago"} & schema.keys()
    if told and schema.get("format") != "date":
        yield Finding(
            loc, f"'{min(told)}' stands on a field that is no date", "add 'format: date', or take it out"
        )
    if schema.get("x-not-future", True) is not True:
        yield Finding(
            (*loc, "x-not-future"), "this is not 'true'", "write 'x-not-future: true', or take it out"
        )
    months = schema.get("x-at-least-months-ago", 1)
    if not isinstance(months, int) or isinstance(months, bool) or months < 1:
        yield Finding((*loc, "x-at-least-months-ago"), "this is not a number of months", "write 1 or more")


def _keywords(schema: Mapping[str, Any], loc: Loc) -> Iterator[Finding]:
    for key in schema:
        if key not in KEYWORDS:
            yield Finding(
                (*loc, key), f"the keyword '{key}' is not used in forms", _near(key, sorted(KEYWORDS))
            )


def _near(given: str, known: list[str]) -> str:
    close = difflib.get_close_matches(given, known, n=1, cutoff=0.6)
    return f"did you mean '{close[0]}'?" if close else f"known here: {', '.join(known)}"
