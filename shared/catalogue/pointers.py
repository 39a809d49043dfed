"""JSON Pointers (RFC 6901), followed in a form and in the JSON Schema of a form."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

MISSING: Any = object()


def pointer_of(parts: Iterable[object]) -> str:
    """The pointer that names this path."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


def parts_of(pointer: str) -> tuple[str, ...]:
    """The path that a pointer names."""
    return tuple(part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:])


def follow(form: Any, pointer: str) -> Any:
    """What stands there in a form, or MISSING. Objects only: facts never come out of lists."""
    for part in parts_of(pointer):
        if not isinstance(form, Mapping) or part not in form:
            return MISSING
        form = form[part]
    return form


@dataclass(frozen=True, slots=True)
class FormField:
    """One property of a form schema, with what its surroundings say about it."""

    path: tuple[str, ...]
    schema: Mapping[str, Any]
    always: bool
    """It and everything around it is required."""
    personal: bool
    """It, or something around it, is marked x-personal."""

    @property
    def pointer(self) -> str:
        """Where it stands in the form."""
        return pointer_of(self.path)


def fields_of(schema: Mapping[str, Any]) -> Iterator[FormField]:
    """Every property of a form schema, outer ones first."""
    yield from _fields(FormField((), schema, True, schema.get("x-personal") is True))


def _fields(parent: FormField) -> Iterator[FormField]:
    properties = parent.schema.get("properties")
    if not isinstance(properties, Mapping):
        return
    required = parent.schema.get("required", ())
    for name, schema in properties.items():
        if isinstance(schema, Mapping):
            field = FormField(
                path=(*parent.path, str(name)),
                schema=schema,
                always=parent.always and name in required,
                personal=parent.personal or schema.get("x-personal") is True,
            )
            yield field
            yield from _fields(field)


def schema_path(path: Iterable[str]) -> tuple[str, ...]:
    """Where a property of the form stands in its JSON Schema."""
    return tuple(step for part in path for step in ("properties", part))
