"""A value of another type is not taken for one that was meant: true, 1.0 and "1" are not 1."""

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from deploy.services import SERVICES, part
from shared.http.body import Body

for service in SERVICES:
    part(service, "web")

OTHERS: dict[str, tuple[Any, ...]] = {
    "integer": (True, 1.0, "1", "1.0", [1], {"1": 1}),
    "boolean": (1, 0, "true", "yes", 1.0),
    "string": (1, True, 1.5, ["x"], {"x": "x"}),
    "number": (True, "1.5"),
    "array": ("x", {"0": "x"}, 1),
    "object": ([["a", "b"]], "{}"),
}


def bodies() -> list[type[Body]]:
    """Every model that a door reads."""
    found, waiting = [], [Body]
    while waiting:
        for cls in waiting.pop().__subclasses__():
            waiting.append(cls)
            found.append(cls)
    return sorted(
        (cls for cls in found if cls.__module__.startswith("services.")), key=lambda cls: cls.__name__
    )


def kinds_of(schema: dict[str, Any], definitions: dict[str, Any]) -> Iterator[str]:
    """The JSON types that a field takes."""
    if "$ref" in schema:
        schema = definitions[schema["$ref"].rpartition("/")[2]]
    for branch in schema.get("anyOf", ()):
        yield from kinds_of(branch, definitions)
    if "type" in schema:
        yield schema["type"]


def fields() -> Iterator[tuple[type[Body], str, Any]]:
    """Each field with each value of a type that it does not take."""
    for body in bodies():
        schema = body.model_json_schema()
        for name, field in schema["properties"].items():
            kinds = set(kinds_of(field, schema.get("$defs", {})))
            wrong = [value for kind in kinds for value in OTHERS.get(kind, ())]
            yield from ((body, name, value) for value in wrong if _kind(value) not in kinds)


def _kind(value: object) -> str:
    names = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}
    return names[type(value)]


def test_there_are_bodies() -> None:
    assert len(bodies()) >= 5


@pytest.mark.parametrize(("body", "name", "value"), list(fields()))
def test_a_value_of_another_type_is_refused(body: type[Body], name: str, value: object) -> None:
    annotated = TypeAdapter(body)
    with pytest.raises(ValidationError) as caught:
        annotated.validate_python({name: value})
    assert name in {str(error["loc"][0]) for error in caught.value.errors() if error["loc"]}
