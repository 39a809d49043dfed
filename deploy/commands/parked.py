"""`onestop parked`: what could not be handled, for those who mend."""

from typing import TYPE_CHECKING, Annotated

import typer

from deploy.commands.context import DataDir, actor, as_dict, choose_services, contexts
from deploy.output import Json, emit_json, emit_rows, say
from deploy.settings import load_settings

if TYPE_CHECKING:
    from pathlib import Path

    from shared.bus.context import ServiceContext

app = typer.Typer(no_args_is_help=True, help="What is parked: see, replay, drop.", rich_markup_mode=None)

ParkedId = Annotated[str, typer.Argument(help="id as `onestop parked list` shows it")]
Service = Annotated[
    list[str] | None, typer.Option("--service", help="only this service (may be given again)")
]
_COLUMNS = ["id", "service", "type", "case", "attempts", "deaths", "waiting_behind", "received_at", "reason"]


@app.command("list")
def list_(service: Service = None, data_dir: DataDir = None, json: Json = False) -> int:
    """Everything parked, the oldest first."""
    from shared.bus.parking import list_parked

    chosen = contexts(load_settings(data_dir), choose_services(service))
    found = [as_dict(item) for context in chosen for item in list_parked(context)]
    found.sort(key=lambda item: str(item["received_at"]))
    if json:
        emit_json({"parked": found})
    else:
        emit_rows(found, _COLUMNS)
    return 0


@app.command("show")
def show(parked_id: ParkedId, service: Service = None, data_dir: DataDir = None) -> int:
    """One parked fact as it came, as JSON."""
    from shared.bus.parking import show_parked

    emit_json(show_parked(_home_of(parked_id, service, data_dir), parked_id))
    return 0


@app.command("replay")
def replay(parked_id: ParkedId, service: Service = None, data_dir: DataDir = None) -> int:
    """Hand it in again after the cause is mended."""
    from shared.bus.parking import replay_parked

    context = _home_of(parked_id, service, data_dir)
    replay_parked(context, parked_id, actor())
    context.hints.close()
    say(f"onestop: {parked_id} goes to {context.service} again")
    return 0


@app.command("drop")
def drop(
    parked_id: ParkedId,
    service: Service = None,
    data_dir: DataDir = None,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
) -> int:
    """Give it up: its case goes on without it. Noted with your name."""
    from shared.bus.parking import drop_parked

    context = _home_of(parked_id, service, data_dir)
    if not yes:
        typer.confirm(f"Drop {parked_id} of {context.service} for good?", abort=True, err=True)
    drop_parked(context, parked_id, actor())
    context.hints.close()
    say(f"onestop: {parked_id} is dropped; the case goes on without it")
    return 0


def _home_of(parked_id: str, service: list[str] | None, data_dir: "Path | None") -> "ServiceContext":
    """The context of the service where it is parked. Raises ParkedNotFound."""
    from shared.bus.parking import ParkedNotFound, list_parked

    for context in contexts(load_settings(data_dir), choose_services(service)):
        if any(item.id == parked_id for item in list_parked(context)):
            return context
    raise ParkedNotFound(
        f"没有编号为 {parked_id} 的搁置消息；onestop parked list 可查看全部",
        f"nothing is parked as {parked_id}; `onestop parked list` shows what is",
    )
