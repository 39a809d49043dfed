"""Where the local installation keeps its data."""

import os
import stat
from collections.abc import Callable
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


def make_private_file(path: Path, content: Callable[[], str], owner: Identity | None = None) -> bool:
    """A file that only its owner may read (0600), when there is none; whether it was made."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return False
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.write(content())
        file.flush()
        os.fsync(file.fileno())
    if owner is not None:
        owner.own(path)
    sync_folder(path.parent)
    return True


def replace_private(path: Path, content: str, owner: Identity | None = None) -> None:
    """Write a 0600 file so that it is the old one or the new one at every moment, also after a power cut."""
    half = path.with_name(path.name + ".half")
    half.unlink(missing_ok=True)
    make_private_file(half, lambda: content, owner)
    half.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """What was made, named or renamed in a folder outlives a power cut."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


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
