"""A migration that takes something away comes a release after the one since which nobody uses it.

A released one never changes."""

import json
import re

import pytest

from deploy.frozen_migrations import changed, digests, scripts_of
from deploy.lints import ROOT
from deploy.migrate import COMMON_SCHEMA, schema_of
from deploy.migrations import Schema
from deploy.services import SERVICES

RELEASES = re.findall(r"^## \[(\d+\.\d+\.\d+)\]", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
"""Those that are out, the newest first."""


SCHEMAS = (COMMON_SCHEMA, *map(schema_of, SERVICES))


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: schema.name)
def test_what_contracts_names_a_release_that_is_out_and_comes_after_what_expands(schema: Schema) -> None:
    chain = list(scripts_of(schema))
    assert [script.revision for script in chain] == [f"{n:04d}" for n in range(1, len(chain) + 1)]
    for n, script in enumerate(chain):
        assert script.module.phase in ("expand", "contract")
        if script.module.phase == "contract":
            assert script.module.expanded_in in RELEASES, f"{script.path}: that release is not out"
            assert "expand" in {other.module.phase for other in chain[:n]}


def test_what_was_released_does_what_it_did() -> None:
    released = json.loads((ROOT / "docs" / "released" / "migrations.json").read_text("utf-8"))
    assert set(released) == {f"{schema.name}:0001" for schema in SCHEMAS}
    assert changed(released) == [], "released migrations are frozen: write the next one"


def test_a_changed_table_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    released = digests()
    monkeypatch.setattr("shared.bus.schema.Path.read_text", lambda *_, **__: "CREATE TABLE {schema}.other ()")
    assert changed(released) == [f"{service}:0001" for service in sorted(SERVICES)]
