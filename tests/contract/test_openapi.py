"""Foreign tools accept the OpenAPI document."""

from pathlib import Path

import pytest

from tests.support.foreign import ROOT, generate_python_client, run_node

DOCUMENT = ROOT / "docs" / "openapi.json"
pytestmark = pytest.mark.usefixtures("foreign_tools")


def test_the_linter_finds_nothing() -> None:
    """Redocly's recommended rules; its warnings count as well."""
    assert "Your API description is valid" in (said := run_node("redocly", "lint", DOCUMENT)), said
    assert "warning" not in said.lower().replace("deprecation warning", ""), said


def test_types_for_typescript_are_generated_and_compile(tmp_path: Path) -> None:
    types = tmp_path / "onestop.ts"
    run_node("openapi-typescript", DOCUMENT, "--output", types)
    run_node("tsc", "--noEmit", "--strict", types)
    assert "export interface paths" in types.read_text(encoding="utf-8")


def test_a_client_for_python_is_generated_without_a_warning(tmp_path: Path) -> None:
    made = tmp_path / "onestop_client"
    generate_python_client(DOCUMENT, made)
    assert (made / "client.py").is_file()
