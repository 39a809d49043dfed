"""The options and services that a command works with."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from shared.bus.context import ServiceContext
    from shared.settings import Settings

DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        envvar="ONESTOP_DATA_DIR",
        # Processes inherit the variable and may be users who can only pass through the folder.
        readable=False,
        help="where the local installation keeps its data",
        show_default=False,
    ),
]

Services = Annotated[
    list[str] | None,
    typer.Option("--service", help="only this service (may be given again); all when absent"),
]


def choose_services(given: list[str] | None) -> tuple[str, ...]:
    """The services named, all when none is. Raises BadParameter."""
    from deploy.services import SERVICES

    unknown = [name for name in given or () if name not in SERVICES]
    if unknown:
        raise typer.BadParameter(f"no service {', '.join(unknown)}; there are {', '.join(SERVICES)}")
    return tuple(name for name in SERVICES if name in given) if given else SERVICES


def contexts(settings: "Settings", services: tuple[str, ...]) -> "list[ServiceContext]":
    """One context per service."""
    from shared.context import build_context

    return [build_context(settings, service) for service in services]


def actor() -> str:
    """Who gives the command: the login name, for the audit."""
    import getpass

    return getpass.getuser()


def as_dict(value: Any) -> dict[str, Any]:
    """A dataclass as JSON-ready members."""
    from dataclasses import asdict

    return asdict(value)


def broker_of(data_dir: Path | None) -> str:
    """The broker with the log-in of `migrate`, a secret. Raises BadParameter where the database delivers."""
    from deploy.settings import load_settings
    from shared.bus.topology import broker_url
    from shared.privacy.secret_files import MIGRATE

    url = broker_url(load_settings(data_dir), MIGRATE)
    if not url:
        raise typer.BadParameter(
            "there is no exchange and no queue: this installation delivers inside the database "
            "(ONESTOP_BROKER_URL names a broker)"
        )
    return url
