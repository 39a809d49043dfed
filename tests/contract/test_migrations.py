"""A migration that takes something away comes a release after the one since which nobody uses it."""

import re

import pytest
from alembic.script import Script, ScriptDirectory

from deploy.lints import ROOT
from deploy.migrate import COMMON_SCHEMA, schema_of
from deploy.migrations import Schema
from deploy.services import SERVICES

RELEASES = re.findall(r"^## \[(\d+\.\d+\.\d+)\]", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
"""Those that are out, the newest first."""


def scripts(schema: Schema) -> list[Script]:
    """The migrations of a schema, in order."""
    return list(ScriptDirectory.from_config(schema.config()).walk_revisions())[::-1]


@pytest.mark.parametrize("schema", [COMMON_SCHEMA, *map(schema_of, SERVICES)], ids=lambda schema: schema.name)
def test_what_contracts_names_a_release_that_is_out_and_comes_after_what_expands(schema: Schema) -> None:
    chain = scripts(schema)
    assert [script.revision for script in chain] == [f"{n:04d}" for n in range(1, len(chain) + 1)]
    for n, script in enumerate(chain):
        assert script.module.phase in ("expand", "contract")
        if script.module.phase == "contract":
            assert script.module.expanded_in in RELEASES, f"{script.path}: that release is not out"
            assert "expand" in {other.module.phase for other in chain[:n]}
