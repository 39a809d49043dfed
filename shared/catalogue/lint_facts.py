"""What must hold of facts and of conditions on them. The domain of each fact comes from the form."""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from shared.catalogue.lint_form import Finding
from shared.catalogue.matter import FactSource, Matter
from shared.catalogue.pointers import FormField, fields_of
from shared.catalogue.positions import Loc
from shared.catalogue.terms import Scalar

Domain = tuple[Scalar, ...] | None
"""Every value that a fact can have, null included; None when there are too many to list."""


def form_fields(matter: Matter) -> dict[str, FormField]:
    """The fields of the form by pointer."""
    return {field.pointer: field for field in fields_of(matter.form)}


def fact_domains(matter: Matter) -> dict[str, Domain]:
    """The domain of each fact whose source is sound."""
    fields = form_fields(matter)
    domains: dict[str, Domain] = {}
    for name, source in matter.facts.items():
        field = fields.get(source.value or source.present or "")
        if field is not None:
            domains[name] = _domain(source, field)
    return domains


def _domain(source: FactSource, field: FormField) -> Domain:
    if source.present is not None:
        return (True,) if field.always else (True, False)
    absent: tuple[Scalar, ...] = () if field.always else (None,)
    if "const" in field.schema:
        return (field.schema["const"], *absent)
    if "enum" in field.schema:
        return (*field.schema["enum"], *absent)
    return (True, False, *absent) if field.schema.get("type") == "boolean" else None


def fact_findings(matter: Matter) -> Iterator[Finding]:
    """Facts that lead nowhere, or that would carry personal data into events."""
    fields = form_fields(matter)
    for name, source in matter.facts.items():
        loc: Loc = ("facts", name)
        if (source.value is None) == (source.present is None):
            yield Finding(
                loc, f"the fact '{name}' needs exactly one source", "give 'value' or 'present', not both"
            )
            continue
        pointer = source.value or source.present or ""
        field = fields.get(pointer)
        if field is None:
            yield unknown_pointer((*loc, "value" if source.value else "present"), pointer, fields)
        elif source.value is not None:
            yield from _sayable(name, (*loc, "value"), field)


def _sayable(name: str, loc: Loc, field: FormField) -> Iterator[Finding]:
    schema = field.schema
    if field.personal:
        yield Finding(
            loc,
            f"the fact '{name}' reads the personal field {field.pointer}",
            "facts travel in events; take it out",
        )
    elif schema.get("type") == "string" and not (
        {"enum", "const"} & schema.keys() or schema.get("format") == "date"
    ):
        yield Finding(
            loc,
            f"the fact '{name}' reads free text",
            "read a field with 'enum', a number, a boolean or a date",
        )
    elif schema.get("type") in ("object", "array"):
        yield Finding(
            loc, f"the fact '{name}' reads a group of fields", "use 'present', or read one field of it"
        )


def condition_findings(
    condition: Mapping[Any, tuple[Any, ...]] | None, loc: Loc, domains: Mapping[str, Domain]
) -> Iterator[Finding]:
    """Conditions on facts that are not declared, or on values that they never have."""
    for name, wanted in (condition or {}).items():
        if name not in domains:
            yield Finding((*loc, name), f"the fact '{name}' is not declared", near(name, domains, "facts"))
            continue
        domain = domains[name]
        for value in wanted:
            if domain is not None and not any(type(value) is type(one) and value == one for one in domain):
                yield Finding(
                    (*loc, name),
                    f"the fact '{name}' never is {_shown(value)}",
                    _instead(value, domain),
                )


def unknown_pointer(loc: Loc, pointer: str, fields: Iterable[str]) -> Finding:
    """A pointer into the form that leads nowhere."""
    return Finding(loc, f"the form has no field {pointer}", near(pointer, fields, "fields"))


def near(given: str, known: Iterable[str], what: str) -> str:
    """The closest known word, or all of them."""
    listed = list(known)
    close = difflib.get_close_matches(given, listed, n=1, cutoff=0.6)
    if close:
        return f"did you mean '{close[0]}'?"
    return (
        f"the {what} here are: {', '.join(listed)}"
        if listed
        else f"there are no {what} here yet; declare it first"
    )


def _instead(value: Scalar, domain: tuple[Scalar, ...]) -> str:
    texts = [one for one in domain if isinstance(one, str)]
    if isinstance(value, str) and texts:
        return near(value, texts, "values")
    return f"the values here are: {', '.join(_shown(one) for one in domain if one is not None)}"


def _shown(value: object) -> str:
    """As it would be written in YAML, where 'true' and true are different values."""
    return repr(value) if isinstance(value, str) else str(value).lower()
