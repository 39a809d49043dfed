"""`onestop trouble`: what does not go on by itself, for those who mend."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from deploy.commands.context import DataDir, Services, actor, choose_services, contexts
from deploy.output import Json, emit_json, emit_rows, say
from deploy.settings import load_settings

if TYPE_CHECKING:
    from pathlib import Path

    from shared.bus.context import ServiceContext
    from shared.bus.trouble import Source

app = typer.Typer(
    no_args_is_help=True, help="What does not go on by itself: see, retry, drop.", rich_markup_mode=None
)

TroubleId = Annotated[str, typer.Argument(help="id as `onestop trouble list` shows it")]
_COLUMNS = ["id", "kind", "age", "case", "about", "attempts", "deaths", "behind", "waits_for", "reason"]


@app.command("list")
def list_(
    service: Services = None,
    kind: Annotated[
        list[str] | None, typer.Option("--kind", help="only this kind (may be given again)")
    ] = None,
    cursor: Annotated[str | None, typer.Option("--cursor", help="`next` of the page before")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=100, help="pieces of a page at most")] = 50,
    data_dir: DataDir = None,
    json: Json = False,
) -> int:
    """Parked facts, facts that wait for too long, jobs that failed, deliveries in doubt, messages that are no
    facts: the oldest first, page by page."""
    from deploy.trouble import kinds, list_all, tally_all
    from shared.paging import COUNTED, counted

    services = choose_services(service)
    known = kinds(services)
    unknown = [name for name in kind or () if name not in known]
    if unknown:
        raise typer.BadParameter(f"no kind {', '.join(unknown)}; there are {', '.join(known)}")
    chosen = contexts(load_settings(data_dir), services)
    page = list_all(chosen, kind or known, cursor=cursor, limit=limit)
    lines = [_line(trouble) for trouble in page.lines]
    tallies = tally_all(chosen)
    if json:
        counts = [
            {
                "service": where,
                "kind": what,
                "count": min(tally.count, COUNTED),
                "more": tally.count > COUNTED,
                "oldest": tally.oldest,
            }
            for (where, what), tally in sorted(tallies.items())
        ]
        emit_json({"counts": counts, "trouble": lines, "next": page.next})
        return 0
    emit_rows([{**line, "age": _age(line["age_s"])} for line in lines], _COLUMNS)
    if not lines and not cursor:
        say("onestop: nothing: all goes on by itself")
    for (where, what), tally in sorted(tallies.items()):
        say(f"onestop: {where}: {counted(tally.count)} {what}")
    if page.next:
        say(f"onestop: there is more: onestop trouble list --cursor {page.next}")
    return 0


@app.command("show")
def show(trouble_id: TroubleId, data_dir: DataDir = None) -> int:
    """All that is known of one piece, with its payload, as JSON."""
    from shared.bus.trouble import show_trouble

    context, source, row_id = _home_of(trouble_id, data_dir)
    emit_json(show_trouble(context, source, row_id))
    return 0


@app.command("retry")
def retry(trouble_id: TroubleId, data_dir: DataDir = None, json: Json = False) -> int:
    """Let it be tried again after the cause is mended, as if for the first time. Noted with your name."""
    from shared.bus.trouble import retry_trouble

    context, source, row_id = _home_of(trouble_id, data_dir)
    retry_trouble(context, source, row_id, actor())
    context.hints.close()
    return _done(trouble_id, "retried", "is tried again", json)


@app.command("drop")
def drop(
    trouble_id: TroubleId,
    data_dir: DataDir = None,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
    json: Json = False,
) -> int:
    """Give it up: its case goes on without it. Noted with your name."""
    from shared.bus.trouble import drop_trouble

    context, source, row_id = _home_of(trouble_id, data_dir)
    if not yes:
        typer.confirm(f"Drop {trouble_id} for good?", abort=True, err=True)
    drop_trouble(context, source, row_id, actor())
    context.hints.close()
    return _done(trouble_id, "dropped", "is dropped; its case goes on without it", json)


def _done(trouble_id: str, act: str, words: str, json: bool) -> int:
    if json:
        emit_json({"id": trouble_id, "act": act})
    else:
        say(f"onestop: {trouble_id} {words}")
    return 0


def _home_of(trouble_id: str, data_dir: "Path | None") -> "tuple[ServiceContext, Source, str]":
    """Where it lies. Raises TroubleNotFound."""
    from deploy.services import SERVICES
    from deploy.trouble import find

    named = [service for service in SERVICES if trouble_id.startswith(f"{service}.")]
    return find(contexts(load_settings(data_dir), tuple(named)), trouble_id)


def _line(trouble: Any) -> dict[str, Any]:
    from dataclasses import asdict
    from datetime import UTC, datetime

    age_s = max(0, int((datetime.now(UTC) - trouble.since).total_seconds()))
    return {**asdict(trouble), "age_s": age_s}


def _age(seconds: int) -> str:
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
