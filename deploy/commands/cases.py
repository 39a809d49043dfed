"""`onestop case`: one case across all services."""

from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any

import typer

from deploy.commands.context import DataDir
from deploy.output import Json, emit_json, emit_rows, emit_text
from deploy.settings import load_settings

app = typer.Typer(no_args_is_help=True, help="Look at one case.", rich_markup_mode=None)

Number = Annotated[str, typer.Argument(help="the case number")]
_HANDLED = "handled"


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
    """What happened to the case, in order: every fact, who said it, and who has handled it; then what does
    not go on, and why."""
    from deploy.trace import case_trace

    found = case_trace(load_settings(data_dir), number)
    if json:
        emit_json(found)
        return 0
    emit_text(f"Case {number}. Times are of {_zone()}; each service counts what it says about the case.")
    emit_text("")
    emit_rows([_line(fact) for fact in found["facts"]], ["at", "said by", "what happened", "handled by"])
    waiting = list(_waiting(found))
    emit_text("")
    if waiting:
        emit_text("Does not go on by itself, or has not yet:")
        emit_rows(waiting, ["at", "said by", "what happened", "where", "state", "why"])
    else:
        emit_text("Everything that was said is handled.")
    return 0


def _line(fact: dict[str, Any]) -> dict[str, Any]:
    by_state = defaultdict(list)
    for heard in fact["heard"]:
        by_state[heard["state"]].append(heard["consumer"])
    handled = ", ".join(sorted(by_state.pop(_HANDLED, ())))
    others = [f"{', '.join(sorted(names))} ({state})" for state, names in sorted(by_state.items())]
    return {**_what(fact), "handled by": "; but not ".join(filter(None, (handled or "nobody", *others)))}


def _waiting(found: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for fact in found["facts"]:
        if fact["sent_at"] is None:
            yield {**_what(fact), "where": fact["speaker"], "state": "not handed on yet"}
        for heard in fact["heard"]:
            if heard["state"] != _HANDLED:
                yield {**_what(fact), **_where(heard)}
    for heard in found["heard_only"]:
        yield {**_what(heard), **_where(heard)}


def _what(fact: dict[str, Any]) -> dict[str, Any]:
    return {
        "at": _local(fact.get("emitted_at") or fact["received_at"]),
        "said by": f"{fact['speaker']} {fact['sequence']}",
        "what happened": _words(fact["type"]),
    }


def _where(heard: dict[str, Any]) -> dict[str, Any]:
    return {"where": heard["consumer"], "state": heard["state"], "why": heard["reason"]}


def _words(type_: str | None) -> str:
    """What the fact says of itself; its type where it says nothing, or only a newer release knows it."""
    from shared.events.fact import UnknownFactType, fact_class

    try:
        cls = fact_class(type_ or "")
    except UnknownFactType:
        return type_ or "nothing that can be read"
    return cls.seen.title.en if cls.seen is not None else cls.called.replace("-", " ")


def _local(at: datetime) -> str:
    from shared.legal_time import LEGAL_ZONE

    return f"{at.astimezone(LEGAL_ZONE):%Y-%m-%d %H:%M:%S}"


def _zone() -> str:
    from shared.legal_time import LEGAL_ZONE

    return LEGAL_ZONE.key
