"""`onestop subscribers`: who outside gets single facts over the broker."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deploy.commands.context import DataDir, as_dict, broker_of
from deploy.output import Json, emit_json, emit_rows, say
from deploy.settings import load_settings, running_data_dir

if TYPE_CHECKING:
    from deploy.rabbitmq import RabbitNode

app = typer.Typer(
    no_args_is_help=True,
    help="Foreign subscribers to single facts: add, list, remove.",
    rich_markup_mode=None,
)

Name = Annotated[str, typer.Argument(help="lower-case letters, digits and hyphens, 40 at most")]
_NAME = re.compile(r"[a-z][a-z0-9-]{0,39}")
_COLUMNS = ["name", "queue", "services", "types", "since", "messages", "consumers"]


@app.command("add")
def add(
    name: Name,
    service: Annotated[
        list[str] | None, typer.Option("--service", help="all that this service says (may be given again)")
    ] = None,
    type_: Annotated[
        list[str] | None, typer.Option("--type", help="facts of this type (may be given again)")
    ] = None,
    password_file: Annotated[
        Path | None, typer.Option("--password-file", help="new file; NAME.password here when absent")
    ] = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> int:
    """Publish single facts for a foreign subscriber from now on: a queue of its own, a user that reads it and
    does nothing else, and a password that is written once, to a file for it."""
    from deploy.migrate import admin_engine
    from deploy.public_subscribers import add_subscriber, broker_user
    from shared.bus.topology import public_name

    services, types = _chosen(name, service or [], type_ or [])
    url, settings = broker_of(data_dir), load_settings(data_dir)
    place = (password_file or Path(f"{name}.password")).absolute()
    add_subscriber(admin_engine(settings), url, settings.secrets_dir, place, name, services, types)
    made = {"user": broker_user(name), "queue": public_name(name), "password_file": str(place)}
    node = _own_node(data_dir, settings)
    if node is not None:
        node.read_definitions()
    else:
        say(
            "onestop: let your broker know the user, or nothing can be published for it: "
            f"rabbitmqctl import_definitions {settings.secrets_dir / 'broker' / 'definitions.json'}"
        )
    if json:
        emit_json(made)
    else:
        emit_rows([made], list(made))
    say(f"onestop: hand {place} over and remove it: the password stands nowhere else")
    return 0


@app.command("list")
def list_(data_dir: DataDir = None, json: Json = False) -> int:
    """Who is registered for what, how much waits in each queue, and does anybody read it?"""
    from deploy.migrate import admin_engine
    from deploy.public_subscribers import public_subscribers
    from shared.bus.topology import read_public_queues

    url = broker_of(data_dir)
    found = public_subscribers(admin_engine(load_settings(data_dir)))
    queues = read_public_queues(url, [one.name for one in found])
    lines: list[dict[str, Any]] = [
        {**as_dict(one), "queue": queue.name, "messages": queue.messages, "consumers": queue.consumers}
        for one, queue in zip(found, queues, strict=True)
    ]
    if json:
        emit_json({"subscribers": lines})
    else:
        shown = [
            line | {kind: ", ".join(line[kind]) or None for kind in ("services", "types")} for line in lines
        ]
        emit_rows(shown, _COLUMNS)
    return 0


@app.command("remove")
def remove(
    name: Name,
    data_dir: DataDir = None,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
    json: Json = False,
) -> int:
    """Publish nothing for it any more, and take away its queue, with all in it, and its user."""
    from deploy.migrate import admin_engine
    from deploy.public_subscribers import broker_user, remove_subscriber

    url, settings = broker_of(data_dir), load_settings(data_dir)
    if not yes:
        typer.confirm(f"Remove {name}, with all that waits for it?", abort=True, err=True)
    remove_subscriber(admin_engine(settings), url, settings.secrets_dir, name)
    node = _own_node(data_dir, settings)
    if node is not None:
        node.ctl("delete_user", broker_user(name))
    else:
        say(f"onestop: let your broker forget the user: rabbitmqctl delete_user {broker_user(name)}")
    if json:
        emit_json({"removed": name})
    return 0


def _chosen(name: str, services: list[str], types: list[str]) -> tuple[list[str], list[str]]:
    from deploy.services import SERVICES
    from shared.events.fact import fact_classes

    known = sorted(fact.type for fact in fact_classes())
    if not _NAME.fullmatch(name):
        raise typer.BadParameter(f"{name!r} is no name: lower-case letters, digits and hyphens, 40 at most")
    if not services and not types:
        raise typer.BadParameter("say which facts: --service (all of its facts) or --type")
    for kind, given, there in (("service", services, list(SERVICES)), ("type", types, known)):
        if unknown := sorted(set(given) - set(there)):
            raise typer.BadParameter(f"no {kind} {', '.join(unknown)}; there are {', '.join(there)}")
    return sorted(set(services)), sorted(set(types))


def _own_node(data_dir: Path | None, settings: Any) -> "RabbitNode | None":
    """The private node of this installation, if it has one; it can be told at once."""
    from deploy.rabbitmq import RabbitNode

    folder = running_data_dir(data_dir) / "rabbitmq"
    if not (folder / "node.json").exists():
        return None
    node = RabbitNode(folder, settings.secrets_dir)
    return node if node.url == settings.broker_url else None
