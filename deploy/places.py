"""Where the local installation keeps its data."""

import os
import stat
from pathlib import Path

from deploy.errors import PlaceUnusable
from deploy.processes import Identity


def default_data_dir() -> Path:
    """/var/lib/onestop for root, else $XDG_DATA_HOME/onestop or ~/.local/share/onestop."""
    if os.geteuid() == 0:
        return Path("/var/lib/onestop")
    base = os.environ.get("XDG_DATA_HOME")
    if base and Path(base).is_absolute():
        return Path(base) / "onestop"
    return Path("~/.local/share/onestop").expanduser()


def make_private(path: Path, owner: Identity | None = None) -> Path:
    """A directory that only its owner may enter (0700). Raises PlaceUnusable."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if owner is not None:
            owner.own(path)
        path.chmod(0o700)
    except OSError as error:
        raise PlaceUnusable(detail_en=f"{path}: {error.strerror}. Choose another with --data-dir") from None
    return path


def make_passable(path: Path) -> Path:
    """A directory that others may walk through but not list (0711): servers of another user live below."""
    try:
        path.mkdir(mode=0o711, parents=True, exist_ok=True)
        path.chmod(0o711)
    except OSError as error:
        raise PlaceUnusable(detail_en=f"{path}: {error.strerror}. Choose another with --data-dir") from None
    return path


def can_enter(who: Identity | None, path: Path) -> bool:
    """May this user walk down to the path? None is ourselves, who may."""
    return who is None or closed_above(who, path) is None


def closed_above(who: Identity, path: Path) -> Path | None:
    """The uppermost folder on the way to the path that this user may not pass; None when there is none."""
    return next((folder for folder in reversed(path.resolve().parents) if not _passes(who, folder)), None)


def _passes(who: Identity, folder: Path) -> bool:
    status = folder.stat()
    if status.st_uid == who.uid:
        return bool(status.st_mode & stat.S_IXUSR)
    if status.st_gid == who.gid:
        return bool(status.st_mode & stat.S_IXGRP)
    return bool(status.st_mode & stat.S_IXOTH)
