"""`onestop run` and `onestop migrate`: the processes of an installation, one by one."""

import typer

from deploy.commands.context import DataDir, Services, choose_services
from deploy.output import Json, emit_json, emit_rows
from deploy.settings import load_settings

run = typer.Typer(no_args_is_help=True, help="Run one process in the foreground.", rich_markup_mode=None)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(run, name="run")
    app.command("migrate")(migrate)


@run.command("web")
def run_web(service: Services = None) -> int:
    """The HTTP edge: pages and API. Ends in order at SIGTERM."""
    from deploy.commands.serving import serve

    services = choose_services(service)
    return serve(load_settings(), services)


@run.command("worker")
def run_worker(service: Services = None) -> int:
    """Consumers, relay, jobs and timers. Ends in order at SIGTERM."""
    services = choose_services(service)
    # Loaded by `deploy.cli` before anything else; this is no second import.
    from deploy import worker

    return worker.run(load_settings(), services)


def migrate(data_dir: DataDir = None, json: Json = False) -> int:
    """Bring database and broker to what this release needs. Safe to run again."""
    import sys

    from deploy.migrate import migrate as bring_up
    from shared.log import configure

    settings = load_settings(data_dir)
    configure(settings, service="migrate", stream=sys.stderr)
    ran = bring_up(settings)
    if json:
        emit_json({"migrations": ran})
    else:
        emit_rows([{"migration": name} for name in ran], ["migration"])
    return 0
