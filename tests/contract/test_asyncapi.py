"""The AsyncAPI document as a foreign tool reads it: no finding of any weight, and the tool does look."""

import json
from pathlib import Path
from typing import Any

import pytest

from deploy.asyncapi import asyncapi_document
from deploy.generated import ROOT
from tests.support.foreign import run_node

pytestmark = pytest.mark.usefixtures("foreign_tools")

DOCUMENT = ROOT / "docs" / "asyncapi.json"
FACT = "onestop.intake.case-submitted.v1"


def lose_a_message(document: dict[str, Any]) -> None:
    del document["components"]["messages"][FACT]


def misname_a_channel(document: dict[str, Any]) -> None:
    document["operations"]["intake.says"]["channel"]["$ref"] = "#/channels/nowhere"


def have_no_type(document: dict[str, Any]) -> None:
    document["components"]["messages"][FACT]["payload"]["type"] = "nothing"


def test_the_parser_finds_nothing_and_would_find_what_is_wrong(tmp_path: Path) -> None:
    harmed = []
    for harm in (lose_a_message, misname_a_channel, have_no_type):
        document = asyncapi_document()
        harm(document)
        harmed.append(tmp_path / f"{harm.__name__}.json")
        harmed[-1].write_text(json.dumps(document), encoding="utf-8")
    ours, *theirs = json.loads(run_node("asyncapi.mjs", DOCUMENT, *harmed))
    assert ours == []
    for path, found in zip(harmed, theirs, strict=True):
        assert any(finding["severity"] == 0 for finding in found), path.name
