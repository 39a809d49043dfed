"""The settings that a command works with: of the environment, else of the local installation."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.errors import NoWitnessDir, SharedProcess

if TYPE_CHECKING:
    from shared.settings import Settings


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


def check_process(settings: "Settings", services: Sequence[str]) -> None:
    """Raises SharedProcess where several services would live in one process of production untold, and
    NoWitnessDir where nothing of production would tell that its database is an older copy."""
    if settings.environment == "production" and len(services) > 1 and not settings.services_share_process:
        raise SharedProcess(
            f"{'、'.join(services)} 将在同一进程中运行；请用 --service 分开启动，"
            "或设置 ONESTOP_SERVICES_SHARE_PROCESS=true",
            f"{', '.join(services)} would live in one process: start each apart with --service, or set "
            "ONESTOP_SERVICES_SHARE_PROCESS=true",
        )
    check_witness(settings)


def check_witness(settings: "Settings") -> None:
    """Raises NoWitnessDir where production names no place for the witnesses of its databases."""
    if settings.environment == "production" and settings.witness_dir is None:
        raise NoWitnessDir(
            "请设置 ONESTOP_WITNESS_DIR 为数据库卷及其备份之外的目录",
            "set ONESTOP_WITNESS_DIR to a directory outside the database's volume and its copies",
        )
