"""`onestop up`, `demo`, `down` and `ps`: the whole installation on this machine."""

import signal
from typing import Annotated

import typer

from deploy.commands.context import DataDir
from deploy.output import Json, emit_json, emit_rows, say
from deploy.settings import data_dir_of, running_data_dir

Broker = Annotated[
    str | None,
    typer.Option(
        "--broker",
        help="'local' for a private RabbitMQ node, or an amqp:// URL; the database delivers when absent",
    ),
]
Apart = Annotated[
    bool, typer.Option("--apart", help="a worker process for each service instead of one for all")
]
Port = Annotated[int | None, typer.Option("--port", min=0, max=65535, help="port of the web process")]
_STOP_S = 60.0


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("up")(up)
    app.command("demo")(demo)
    app.command("down")(down)
    app.command("ps")(ps)


def up(
    broker: Broker = None,
    apart: Apart = False,
    scale: Annotated[
        list[str] | None,
        typer.Option("--scale", help="how many: approval=3 workers (all services apart), web=2 processes"),
    ] = None,
    port: Port = None,
    data_dir: DataDir = None,
) -> int:
    """Start everything on this machine and keep it up until Ctrl-C."""
    import asyncio

    from deploy.installation import Installation, InstallationOptions

    installation = Installation(
        InstallationOptions(
            data_dir_of(data_dir),
            broker=_broker(broker),
            apart=apart,
            scale=_scale(scale or []),
            web_port=port,
        )
    )

    async def told() -> None:
        say(f"onestop: up at {installation.url} (data in {installation.data_dir}; Ctrl-C ends it)")

    return asyncio.run(installation.supervisor(main=told).run())


def demo(
    once: Annotated[bool, typer.Option("--once", help="end when every case has ended")] = False,
    json: Json = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="show what the processes log")] = False,
    broker: Broker = None,
    apart: Apart = False,
    port: Port = None,
    data_dir: DataDir = None,
) -> int:
    """Everything up with demo people, certificates and cases."""
    from deploy.demo import run_demo

    code: int = run_demo(
        data_dir=data_dir_of(data_dir),
        once=once,
        as_json=json,
        verbose=verbose,
        broker=_broker(broker),
        apart=apart,
        web_port=port,
    )
    return code


def down(data_dir: DataDir = None) -> int:
    """End what `up` or `demo` started, in order."""
    import os

    from deploy.processes import wait_until
    from deploy.supervisor_state import is_held, read_state

    place = running_data_dir(data_dir)
    supervisor = read_state(place)["supervisor"]
    os.kill(supervisor, signal.SIGTERM)
    if wait_until(lambda: not is_held(place), _STOP_S, every_s=0.1):
        return 0
    say(f"onestop: process {supervisor} did not end within {_STOP_S:.0f} s", f"Kill it: kill -9 {supervisor}")
    return 1


def ps(data_dir: DataDir = None, json: Json = False) -> int:
    """What `up` or `demo` keeps running."""
    from deploy.supervisor_state import read_state

    state = read_state(running_data_dir(data_dir))
    if json:
        emit_json(state)
    else:
        emit_rows(state["processes"], ["name", "group", "state", "pid", "started_at", "restarts"])
    return 0


def _broker(given: str | None) -> str | None:
    if given is None or given == "local" or given.startswith(("amqp://", "amqps://")):
        return given
    raise typer.BadParameter("--broker takes 'local' or an amqp:// URL")


def _scale(given: list[str]) -> dict[str, int]:
    from deploy.installation import WEB
    from deploy.services import SERVICES

    found: dict[str, int] = {}
    for entry in given:
        service, _, count = entry.partition("=")
        fewest, most = (1, 16) if service == WEB else (0, 32)
        known = service in (*SERVICES, WEB) and count.isdecimal()
        if not known or not fewest <= int(count) <= most:
            raise typer.BadParameter(
                f"--scale {entry!r}: write SERVICE=COUNT, SERVICE one of {', '.join(SERVICES)}, up to 32, or "
                "web=COUNT, up to 16"
            )
        found[service] = int(count)
    return found
