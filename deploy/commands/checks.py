"""`onestop doctor`, `config`, `secrets` and `topology`: is everything there, and is it as it should be?"""

from pathlib import Path
from typing import Annotated

import typer

from deploy.commands.context import DataDir, Services, broker_of, choose_services
from deploy.output import FAILED, USAGE, Json, emit_json, emit_rows, say
from deploy.settings import check_codes, check_witness, data_dir_of, load_settings, running_data_dir

Renew = Annotated[
    list[str] | None,
    typer.Option(help="make this queue anew, of which the broker has only the name (may be given again)"),
]

config = typer.Typer(no_args_is_help=True, help="The settings in force.", rich_markup_mode=None)
secrets = typer.Typer(no_args_is_help=True, help="The secret files.", rich_markup_mode=None)
topology = typer.Typer(
    no_args_is_help=True, help="Exchanges and queues of the broker.", rich_markup_mode=None
)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("doctor")(doctor)


def doctor(data_dir: DataDir = None, json: Json = False) -> int:
    """Look at everything that onestop needs, and at what does not go on; each finding says how to mend it.
    Exit code 1 when one fails, 2 when it is the settings."""
    from deploy.doctor import examine

    findings = examine(running_data_dir(data_dir))
    if json:
        emit_json({"checks": [finding.as_dict() for finding in findings]})
    else:
        emit_rows([finding.as_dict() for finding in findings], ["level", "check", "found", "fix"])
    failed = {finding.check for finding in findings if finding.ok is False}
    return USAGE if "settings" in failed else FAILED if failed else 0


@config.command("show")
def show(data_dir: DataDir = None) -> int:
    """Every setting as JSON; secrets are masked."""
    emit_json(load_settings(data_dir).model_dump(mode="json"))
    return 0


@config.command("check")
def check(service: Services = None, data_dir: DataDir = None, json: Json = False) -> int:
    """Can the settings be used: are all there, and are the secret files readable?"""
    from deploy.secret_files import check_secrets
    from deploy.services import part

    settings, services = load_settings(data_dir), choose_services(service)
    if "notify" in services:
        part("notify", "channels").channel_settings(settings)
    if "intake" in services:
        part("intake", "identity.provider").providers_on(settings)
    if {"intake", "notify"} <= set(services):
        check_codes(settings)
    check_secrets(settings, services, whole=service is None)
    check_witness(settings)
    if json:
        emit_json({"ok": True})
    else:
        say("onestop: the settings can be used")
    return 0


SecretsPlace = Annotated[
    Path | None, typer.Argument(help="where; ONESTOP_SECRETS_DIR when absent", show_default=False)
]


def _secrets_place(directory: Path | None, data_dir: Path | None) -> Path:
    import os

    return Path(directory or os.environ.get("ONESTOP_SECRETS_DIR") or data_dir_of(data_dir) / "secrets")


@secrets.command("init")
def init(
    directory: SecretsPlace = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> int:
    """Make the secret files that are missing, a folder a service. No secret is ever replaced."""
    from deploy.secret_files import init_secrets

    place = _secrets_place(directory, data_dir)
    made = [str(path) for path in init_secrets(place)]
    if json:
        emit_json({"made": made})
    else:
        emit_rows([{"made": path} for path in made], ["made"])
    return 0


_TURNED = {
    "published": "a new key is made: start every process again with its new session.pub, then run this again",
    "signs": "intake signs with the new key once it is started again; run this again twelve hours later",
    "retired": "the old key is gone: start every process again with its new session.pub",
}


@secrets.command("turn-session-key")
def turn(
    directory: SecretsPlace = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> int:
    """Change the key that signs log-ins, one of three steps a call; nobody is logged out."""
    from deploy.session_keys import turn_session_key

    place = _secrets_place(directory, data_dir)
    step = turn_session_key(place)
    if json:
        emit_json({"step": step})
    else:
        say(f"onestop: {_TURNED[step]}")
    return 0


@topology.command("apply")
def apply(data_dir: DataDir = None, renew: Renew = None) -> int:
    """Declare exchange, queues and the bindings of those that hear somebody already. Safe to run again; part
    of `onestop migrate`, which alone lets a service begin to hear another one."""
    from deploy.migrate import admin_engine
    from deploy.public_subscribers import public_bindings
    from deploy.services import SERVICES
    from deploy.subscribing import subscribed
    from shared.bus.topology import apply_topology, forget_hollow

    url, admin = broker_of(data_dir), admin_engine(load_settings(data_dir))
    for name in renew or ():
        forget_hollow(url, name)
    apply_topology(url, SERVICES, subscribed(admin), public_bindings(admin))
    say("onestop: exchange and queues are as they should be")
    return 0


@topology.command("check")
def check_topology(data_dir: DataDir = None, json: Json = False) -> int:
    """Are exchanges and queues what they should be, how deep are the queues, and does every subscriber
    consume? 1 when not."""
    from deploy.commands.context import as_dict
    from deploy.migrate import admin_engine
    from deploy.public_subscribers import public_bindings
    from deploy.services import SERVICES, subscriptions
    from shared.bus.topology import deviations, read_queues, unheard

    url = broker_of(data_dir)
    wrong = deviations(url, SERVICES, public_bindings(admin_engine(load_settings(data_dir))))
    states = [] if wrong else read_queues(url, SERVICES)
    queues = [as_dict(queue) for queue in states]
    wrong += [
        f"queue {name}: nobody consumes; start the worker of its service, or see why it hangs: onestop ps"
        for name in unheard(states, (service for service, speakers in subscriptions().items() if speakers))
    ]
    if json:
        emit_json({"queues": queues, "wrong": wrong})
    elif queues:
        emit_rows(queues, ["name", "messages", "consumers"])
    for line in wrong:
        say(f"onestop: {line}")
    return 1 if wrong else 0
