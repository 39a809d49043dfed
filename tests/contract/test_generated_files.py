"""Files that are generated and checked in equal what the code would write now."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from deploy.generated import ROOT, generated

FILES = generated()


@pytest.mark.parametrize("name", sorted(FILES))
def test_the_file_equals_the_code(name: str) -> None:
    path = ROOT / name
    assert path.is_file(), f"{name} is missing: make docs"
    assert path.read_text(encoding="utf-8") == FILES[name](), f"{name} is out of date: make docs"


@pytest.mark.parametrize("name", ["docs/asyncapi.json", "docs/openapi.json"])
def test_every_reference_leads_somewhere(name: str) -> None:
    document = json.loads((ROOT / name).read_text(encoding="utf-8"))
    references = list(_references(document))
    assert references
    for reference in references:
        assert reference.startswith("#/")
        found = document
        for part in reference[2:].split("/"):
            found = found[part.replace("~1", "/").replace("~0", "~")]


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for inner in value.values():
            yield from _references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _references(inner)
