"""The settings that a command works with: of the environment, else of the local installation."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.errors import CodesWithoutChannel, NoWitnessDir, SeveralRun, SharedProcess

if TYPE_CHECKING:
    from shared.settings import Settings

CODES_NEXT = (
    "set up a channel of notify for it (ONESTOP_CHANNELS__…) and start its worker, or take it out of "
    "ONESTOP_IDENTITY__ONE_TIME_CODE__KINDS"
)


def data_dir_of(given: Path | None) -> Path:
    """The directory given, else the usual one of this user."""
    from deploy.places import default_data_dir

    return given.absolute() if given is not None else default_data_dir()


def running_data_dir(given: Path | None) -> Path:
    """The directory given, else of what runs: the usual one, or the only one of this user that runs.

    Raises SeveralRun when none is given, nothing runs on the usual one and several do elsewhere.
    """
    from deploy.output import say
    from deploy.supervisor_state import is_held, kept_dirs

    usual = data_dir_of(given)
    if given is not None or is_held(usual):
        return usual
    running = kept_dirs()
    if not running:
        return usual
    if len(running) > 1:
        named = ", ".join(map(str, running))
        raise SeveralRun(
            f"{named} 上都有安装在运行；请用 --data-dir 指明",
            f"installations run on {named}: say which one with --data-dir",
        )
    say(f"onestop: this is about {running[0]}, where the only installation of yours runs")
    return running[0]


def load_settings(data_dir: Path | None = None) -> "Settings":
    """The settings in the environment; without a database there, those of what runs on the data directory.

    Raises SettingsError and SeveralRun.
    """
    from deploy.installation import remembered_settings
    from shared.settings import Settings

    if not {"ONESTOP_DB__HOST", "ONESTOP_DB__HOST_FILE"} & set(os.environ):
        for name, value in remembered_settings(running_data_dir(data_dir)).items():
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


def code_kinds(settings: "Settings") -> set[str]:
    """The kinds of contact that intake's providers verify by one-time codes. Raises SettingsError."""
    from deploy.services import part

    on = part("intake", "identity.provider").providers_on(settings)
    return {str(kind) for file, own in on.values() for kind in file.verifies(own)}


def check_codes(settings: "Settings") -> None:
    """Raises CodesWithoutChannel where codes are on for a kind of contact that no channel is set up for."""
    from deploy.services import part

    lost = sorted(code_kinds(settings) - set(part("notify", "channels").code_channels(settings)))
    if lost:
        raise CodesWithoutChannel(
            f"{'、'.join(lost)}：请为 notify 设置相应渠道（ONESTOP_CHANNELS__…），"
            "或从 ONESTOP_IDENTITY__ONE_TIME_CODE__KINDS 中去掉",
            f"{', '.join(lost)}: {CODES_NEXT}",
        )
