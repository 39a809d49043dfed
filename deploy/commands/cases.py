"""`onestop case`: one case across all services."""

from typing import Annotated, Any

import typer

from deploy.commands.context import DataDir
from deploy.output import Json, emit_json, emit_rows, emit_text
from deploy.settings import load_settings

app = typer.Typer(no_args_is_help=True, help="Look at one case.", rich_markup_mode=None)

Number = Annotated[str, typer.Argument(help="the case number")]


@app.command("show")
def show(number: Number, data_dir: DataDir = None, json: Json = False) -> int:
    """Where the case stands in each service. Shows no personal data."""
    from deploy.trace import case_show

    found = case_show(load_settings(data_dir), number)
    if json:
        emit_json(found)
        return 0
    for service, row in found["services"].items():
        emit_text(f"{service}:")
        emit_rows([{"field": key, "value": value} for key, value in row.items()], ["field", "value"])
    return 0


@app.command("trace")
def trace(number: Number, data_dir: DataDir = None, json: Json = False) -> int:
    """Every fact about the case: said when, handed on when, heard by whom, and why it waits."""
    from deploy.trace import case_trace

    found = case_trace(load_settings(data_dir), number)
    if json:
        emit_json(found)
    else:
        emit_rows(list(_lines(found)), ["said", "fact", "speaker", "heard by", "state", "why"])
    return 0


def _lines(found: dict[str, Any]) -> list[dict[str, Any]]:
    lines = []
    for fact in found["facts"]:
        said = {"said": fact["emitted_at"], "fact": fact["type"], "speaker": fact["speaker"]}
        lines += [said, *map(_heard, fact["heard"])]
    return [
        *lines,
        *({"fact": fact["type"], "speaker": fact["speaker"], **_heard(fact)} for fact in found["heard_only"]),
    ]


def _heard(fact: dict[str, Any]) -> dict[str, Any]:
    return {
        "heard by": fact["consumer"],
        "state": fact["state"],
        "why": fact["reason"],
    }
