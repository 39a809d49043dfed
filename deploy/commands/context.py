"""The settings and services that a command works with."""

import os
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
        help="where the local installation keeps its data",
        show_default=False,
    ),
]


def data_dir_of(given: Path | None) -> Path:
    """The directory given, else the usual one of this user."""
    from deploy.places import default_data_dir

    return given.absolute() if given is not None else default_data_dir()


def load_settings(data_dir: Path | None = None) -> "Settings":
    """The settings in the environment; without a database there, those of what runs on the data directory.

    Raises SettingsError.
    """
    from deploy.installation import remembered_settings
    from shared.settings import Settings

    if not {"ONESTOP_DB__HOST", "ONESTOP_DB__HOST_FILE"} & set(os.environ):
        for name, value in remembered_settings(data_dir_of(data_dir)).items():
            os.environ.setdefault(name, value)
    return Settings()


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
