"""`onestop keys`: the data keys that personal data is sealed under, and the master key around them."""

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deploy.commands.context import DataDir, Services, actor, as_dict, choose_services, contexts
from deploy.output import FAILED, Json, emit_json, emit_rows, say
from deploy.settings import load_settings

if TYPE_CHECKING:
    from shared.bus.rotation import KeyStatus

app = typer.Typer(
    no_args_is_help=True, help="Keys of personal data: see, rotate, wrap anew.", rich_markup_mode=None
)
Service = Annotated[str, typer.Option("--service", help="whose keys")]
_NOTHING = "nothing sealed"
_COLUMNS = ["service", "key", "state", "made_at", "made_by", "rows", "waits_for"]


@app.command("status")
def status(service: Services = None, data_dir: DataDir = None, json: Json = False) -> int:
    """Every data key: since when, whether it seals, and how many rows stand under it, column by column."""
    from deploy.services import sealed_tables
    from shared.bus.rotation import key_status

    chosen = contexts(load_settings(data_dir), choose_services(service))
    found = {context.service: key_status(context, sealed_tables(context.service)) for context in chosen}
    if json:
        emit_json({"services": {name: [as_dict(key) for key in keys] for name, keys in found.items()}})
    else:
        lines = [_as_line(name, key) for name, keys in found.items() for key in keys]
        nothing = [{"service": name, "rows": _NOTHING} for name, keys in found.items() if not keys]
        emit_rows(lines + nothing, _COLUMNS)
    return 0


@app.command("rotate")
def rotate(service: Service, data_dir: DataDir = None, json: Json = False) -> int:
    """Seal under a new data key from now on, seal again what stands under the old one, then destroy that one.
    Goes on with a rotation that was broken off. Everything may run meanwhile. Noted with your name."""
    from deploy.services import sealed_tables
    from shared.bus.rotation import begin_rotation, finish_rotation
    from shared.log import configure

    settings = load_settings(data_dir)
    [context] = contexts(settings, choose_services([service]))
    configure(settings, service=service, stream=sys.stderr)
    key = begin_rotation(context, actor())
    turned = finish_rotation(context, sealed_tables(service))
    if json:
        emit_json({"service": service, "key": key, **as_dict(turned)})
    say(f"onestop: {service} seals under key {key}; {turned.resealed} rows were sealed again")
    for old in turned.retired:
        say(f"onestop: key {old} is destroyed")
    for table, rows in turned.unopened.items():
        say(f"onestop: {rows} rows of {service}.{table} do not open, and stay under the old key")
    if turned.left:
        named = ", ".join(map(str, turned.left))
        say(f"onestop: key {named} stays for now; `onestop keys status --service {service}` says for what")
        say("onestop: nothing more is to be done: the workers go on by themselves")
    return FAILED if turned.unopened or not turned.complete else 0


@app.command("rewrap")
def rewrap(
    service: Service,
    prepare: Annotated[
        bool,
        typer.Option("--prepare", help="only make master.key.new, to be copied to the other machines first"),
    ] = False,
    data_dir: DataDir = None,
    json: Json = False,
) -> int:
    """Put a new master.key in the place of the old one. Nothing is sealed again: data keys are wrapped anew.
    Needs the folders of the service and of `migrate`. Goes on when it was broken off. Noted with your name.
    """
    from deploy.rewrapping import prepare_rewrap
    from deploy.rewrapping import rewrap as run
    from shared.log import configure

    settings = load_settings(data_dir)
    choose_services([service])
    configure(settings, service=service, stream=sys.stderr)
    if prepare:
        path = prepare_rewrap(settings, service)
        done: dict[str, Any] = {"service": service, "coming": str(path)}
        say(f"onestop: copy {path} to every machine of {service}, then run this without --prepare")
    else:
        kept = run(settings, service, actor())
        done = {"service": service, "kept": str(kept)}
        say(f"onestop: the data keys of {service} are wrapped under a new master.key")
        say(f"onestop: copies of the database from before need {kept}: keep it with them, away from here")
    if json:
        emit_json(done)
    return 0


def _as_line(service: str, key: "KeyStatus") -> dict[str, Any]:
    rows = ", ".join(
        f"{column} {counted.count}{'+' if counted.more else ''}"
        for column, counted in key.rows.items()
        if counted.count
    )
    return {
        "service": service,
        "key": key.key,
        "state": key.state,
        "made_at": f"{key.made_at:%Y-%m-%d %H:%M}",
        "made_by": key.made_by or None,
        "rows": rows or (None if key.state == "retired" else _NOTHING),
        "waits_for": ", ".join(key.waits_for) or None,
    }
