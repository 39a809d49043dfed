"""Foreign tools accept the OpenAPI document."""

from pathlib import Path

import pytest

from tests.support.foreign import ROOT, run_client_generator, run_node

DOCUMENT = ROOT / "docs" / "openapi.json"
pytestmark = pytest.mark.usefixtures("foreign_tools")


def test_types_for_typescript_are_generated_and_compile(tmp_path: Path) -> None:
    types = tmp_path / "onestop.ts"
    run_node("openapi-typescript", DOCUMENT, "--output", types)
    run_node("tsc", "--noEmit", "--strict", types)
    assert "export interface paths" in types.read_text(encoding="utf-8")


def test_a_client_for_python_is_generated_without_a_warning(tmp_path: Path) -> None:
    made = tmp_path / "onestop_client"
    wanted = ("--path", DOCUMENT, "--output-path", made, "--meta", "none", "--fail-on-warning")
    run_client_generator("generate", *wanted)
    assert (made / "client.py").is_file()
