"""Describes matter files to editors."""

import json
from functools import cache
from typing import Any

from shared.catalogue.matter import Matter


@cache
def editor_schema() -> dict[str, Any]:
    """JSON Schema of a matter file, for editors (YAML language server) and for suggestions."""
    schema = Matter.model_json_schema()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "onestop matter file",
    }


def editor_schema_text() -> str:
    """`editor_schema()` as it is checked in (docs/matter.schema.json)."""
    return json.dumps(editor_schema(), ensure_ascii=False, indent=2, sort_keys=True) + "\n"
