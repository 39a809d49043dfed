"""Files that are written from the code and checked in. `make docs` writes them; a test compares them.

python -m deploy.generated [--release]
"""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from deploy.compose import compose_text
from deploy.retention import retention_text
from deploy.services import SERVICES

ROOT = Path(__file__).parent.parent


def openapi_document(services: Sequence[str] = SERVICES) -> dict[str, Any]:
    """OpenAPI 3.1 of the doors of these services together."""
    document: dict[str, Any] = import_module("deploy.openapi").openapi_document(services)
    return document


def asyncapi_document() -> dict[str, Any]:
    """AsyncAPI 3 of the events, their speakers and who hears them."""
    document: dict[str, Any] = import_module("deploy.asyncapi").asyncapi_document()
    return document


def matter_schema_text() -> str:
    """The JSON Schema of a matter file, for editors."""
    from shared.catalogue.editor import editor_schema_text

    return editor_schema_text()


def generated() -> Mapping[str, Callable[[], str]]:
    """Path from the root -> what it must hold."""
    return {
        "docker-compose.yml": compose_text,
        "docs/asyncapi.json": lambda: _json(asyncapi_document()),
        "docs/matter.schema.json": matter_schema_text,
        "docs/openapi.json": lambda: _json(openapi_document()),
        "docs/retention.md": retention_text,
    }


def write_all(root: Path = ROOT) -> list[str]:
    """Write every file that differs; the paths that changed."""
    changed = []
    for name, content in generated().items():
        path = root / name
        text = content()
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            changed.append(name)
    return changed


def keep_released(root: Path = ROOT) -> list[str]:
    """Keep contracts and migrations as they are now, for what comes after to be compared with; the files that
    changed."""
    from deploy.frozen_migrations import digests

    now = {
        name: (root / "docs" / name).read_text(encoding="utf-8") for name in ("openapi.json", "asyncapi.json")
    }
    changed = []
    for name, text in {**now, "migrations.json": _json(digests())}.items():
        kept = root / "docs" / "released" / name
        if not kept.is_file() or kept.read_text(encoding="utf-8") != text:
            kept.parent.mkdir(exist_ok=True)
            kept.write_text(text, encoding="utf-8")
            changed.append(f"docs/released/{name}")
    return changed


def _json(document: dict[str, Any]) -> str:
    return json.dumps(document, ensure_ascii=False, indent=2, sort_keys=True) + "\n"


if __name__ == "__main__":
    written = write_all() + (keep_released() if "--release" in sys.argv else [])
    sys.stdout.writelines(f"{name}\n" for name in written)
