"""`onestop matter`: matter files."""

from pathlib import Path
from typing import Annotated

import typer

from deploy.commands.context import DataDir, as_dict
from deploy.output import FAILED, Json, emit_json, emit_rows, emit_text, say
from deploy.settings import load_settings

app = typer.Typer(
    no_args_is_help=True, help="Check, compare and publish matter files.", rich_markup_mode=None
)

File = Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="a matter file")]
Files = Annotated[list[Path] | None, typer.Argument(help="matter files; those of the project when absent")]


@app.command("lint")
def lint(files: Files = None, json: Json = False) -> int:
    """Check files: what is wrong, where, and what would be right. Exit code 1 when something is wrong."""
    from shared.catalogue.loader import MatterFileError, load_matter

    problems = []
    paths = _files(files)
    for path in paths:
        try:
            load_matter(path)
        except MatterFileError as error:
            problems += list(error.problems)
    if json:
        emit_json(
            {
                "files": [str(path) for path in paths],
                "problems": [as_dict(problem) for problem in problems],
            }
        )
    else:
        for problem in problems:
            emit_text(str(problem))
        say(f"onestop: {len(paths)} files, {len(problems)} problems")
    return FAILED if problems else 0


@app.command("diff")
def diff(old: File, new: File, json: Json = False) -> int:
    """What differs between two versions."""
    from shared.catalogue.diff import diff as compare
    from shared.catalogue.loader import load_matter

    changes = [as_dict(change) for change in compare(load_matter(old), load_matter(new))]
    if json:
        emit_json({"changes": changes})
    else:
        emit_rows(changes, ["kind", "pointer", "old", "new"])
    return 0


@app.command("publish")
def publish(files: Files = None, data_dir: DataDir = None, json: Json = False) -> int:
    """Publish versions. A published version never changes: publish another version instead."""
    from deploy.catalogue import publish_matters

    said = publish_matters(load_settings(data_dir), _files(files))
    if json:
        emit_json({"published": said})
    else:
        emit_rows(said, ["code", "version", "new"])
    return 0


@app.command("schema")
def schema() -> int:
    """The JSON Schema of a matter file, for editors."""
    from shared.catalogue.editor import editor_schema_text

    emit_text(editor_schema_text())
    return 0


def _files(given: list[Path] | None) -> list[Path]:
    from shared.catalogue.loader import BUILT_IN

    return given if given else sorted(BUILT_IN.glob("*.yaml"))
