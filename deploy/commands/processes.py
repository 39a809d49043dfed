"""`onestop run` and `onestop migrate`: the processes of an installation, one by one."""

from collections.abc import Callable
from typing import Annotated

import typer

from deploy.commands.context import DataDir, Services, choose_services
from deploy.output import Json, emit_json, emit_rows
from deploy.processes import WHEN_TOLD, wait_for_end_of_input
from deploy.settings import load_settings

WhenTold = Annotated[
    bool, typer.Option(WHEN_TOLD, hidden=True, help="load everything, and begin when standard input ends")
]

run = typer.Typer(no_args_is_help=True, help="Run one process in the foreground.", rich_markup_mode=None)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(run, name="run")
    app.command("migrate")(migrate)


@run.command("web")
def run_web(service: Services = None, when_told: WhenTold = False) -> int:
    """The HTTP edge: pages and API. Ends in order at SIGTERM."""
    from deploy.commands.serving import serve

    services = choose_services(service)
    return serve(load_settings(), services, wait=_wait(when_told))


@run.command("worker")
def run_worker(service: Services = None, when_told: WhenTold = False) -> int:
    """Consumers, relay, jobs and timers. Ends in order at SIGTERM."""
    services = choose_services(service)
    # Loaded by `deploy.cli` before anything else; this is no second import.
    from deploy import worker

    return worker.run(load_settings(), services, wait=_wait(when_told))


def migrate(data_dir: DataDir = None, json: Json = False, when_told: WhenTold = False) -> int:
    """Bring database and broker to what this release needs. Safe to run again."""
    import sys

    from deploy.migrate import migrate as bring_up
    from shared.log import configure

    settings = load_settings(data_dir)
    configure(settings, service="migrate", stream=sys.stderr)
    _wait(when_told)()
    ran = bring_up(settings)
    if json:
        emit_json({"migrations": ran})
    else:
        emit_rows([{"migration": name} for name in ran], ["migration"])
    return 0


def _wait(when_told: bool) -> Callable[[], None]:
    return wait_for_end_of_input if when_told else lambda: None
