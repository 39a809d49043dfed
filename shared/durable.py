"""Files that are the old one or the new one at every moment, also after a power cut; one writer at a time."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol


class Owner(Protocol):
    """Another user to whom files are given; only root can."""

    def own(self, path: Path) -> None:
        """Make the path belong to this user."""


def make_private_file(path: Path, content: Callable[[], str], owner: Owner | None = None) -> bool:
    """A file that only its owner may read (0600), when there is none; whether it was made."""
    made = _write_new(path, content, owner)
    if made:
        sync_folder(path.parent)
    return made


def replace_private(path: Path, content: str, owner: Owner | None = None) -> None:
    """Write a 0600 file so that it is the old one or the new one at every moment, also after a power cut."""
    half = path.with_name(path.name + ".half")
    half.unlink(missing_ok=True)
    _write_new(half, lambda: content, owner)
    half.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """What was made, named or renamed in a folder outlives a power cut."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def locked(handle: int) -> Iterator[None]:
    """Hold what is open alone among the processes of this machine, and close it at the end."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _write_new(path: Path, content: Callable[[], str], owner: Owner | None) -> bool:
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
    return True
