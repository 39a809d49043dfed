"""What commands print, and how their errors end."""

import json
import sys
import traceback
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from shared.errors import AppError

FAILED, USAGE, NOT_FOUND, CONFLICT, AWAY = 1, 2, 3, 4, 5
_BY_STATUS = {400: USAGE, 404: NOT_FOUND, 409: CONFLICT, 412: CONFLICT, 503: AWAY}

Json = Annotated[bool, typer.Option("--json", help="machine-readable output")]


def say(*lines: str) -> None:
    """Words for people: standard error."""
    for line in lines:
        sys.stderr.write(line + "\n")
    sys.stderr.flush()


def emit_json(value: Any) -> None:
    """Data for machines: one JSON value on standard output."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2, default=str) + "\n")
    sys.stdout.flush()


def emit_text(text: str) -> None:
    """A document, as it is, on standard output."""
    sys.stdout.write(text if text.endswith("\n") else text + "\n")
    sys.stdout.flush()


def emit_rows(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """A table for people on standard output; nothing but the head when there are no rows."""
    cells = [[_cell(row.get(column)) for column in columns] for row in rows]
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    for line in (columns, *cells):
        padded = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        sys.stdout.write("  ".join(padded).rstrip() + "\n")
    sys.stdout.flush()


def explain(error: BaseException) -> int:
    """Say what happened, why, and what to do next; the exit code."""
    # Nothing is imported for this that the command did not need: who raised it has loaded it.
    outages = sys.modules.get("shared.db.outages")
    if outages is not None and outages.outage_of(error) is not None:
        reason = str(getattr(error, "orig", None) or "no answer").strip().splitlines()[0]
        say(
            f"onestop: the database cannot be used / 数据库暂时不可用: {reason}",
            "`onestop up` starts a local one; ONESTOP_DB__HOST names another; `onestop doctor` looks closer.",
        )
        return AWAY
    errors = sys.modules.get("shared.errors")
    if errors is not None and isinstance(error, errors.AppError):
        return _explain_ours(error)
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        say(f"onestop: {where}{error.strerror or error}")
        return NOT_FOUND if isinstance(error, FileNotFoundError) else FAILED
    traceback.print_exception(error, file=sys.stderr)
    say("onestop: this is a mistake in onestop itself; please report it with the lines above")
    return FAILED


def explain_usage(error: Any) -> int:
    """A mistake on the command line; exit code 2."""
    message = error.format_message()
    if message:
        context = getattr(error, "ctx", None)
        path = context.command_path if context is not None else "onestop"
        say(f"{path}: {message}", f"Try: {path} --help")
    return int(error.exit_code)


def _explain_ours(error: "AppError") -> int:
    say(f"onestop: {error.title_en} / {error.title_zh} [{error.code}]")
    if error.detail_zh:
        say(error.detail_zh)
    if error.detail_en:
        say(error.detail_en)
    for field in error.fields:
        say(f"  {field.pointer or '/'}: {field.message_en}")
    if error.code.startswith("settings."):
        return USAGE
    return _BY_STATUS.get(error.status, FAILED)


def _cell(value: Any) -> str:
    return "-" if value is None else str(value)
