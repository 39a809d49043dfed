"""A small witness outside the database: how far a service's serials were given out, and in which epoch.

A database that was brought back from an older copy looks whole from within, and would give out numbers once
more that people already hold. So each service keeps a mark both in its schema and in a file that is not
restored with it. The database is written first, so it is never behind unless it is an older copy; then the
service does nothing until `onestop restored` has jumped past all that was seen and begun a new epoch.

Neither costs a statement or an fsync a case: serials are reserved in blocks ahead of their use, and the mark
moves at most once a second, while something is done.
"""

import json
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

import structlog
from sqlalchemy import BigInteger, Boolean, Executable, Float, Row, Uuid, column, text
from sqlalchemy.dialects.postgresql import JSONB

from shared.db.outages import DatabaseAway, Outage
from shared.db.types import AwareDateTime
from shared.describe import kind_of
from shared.durable import locked, replace_private

_log = structlog.get_logger()

BLOCK = 1000
"""Serials reserved at once."""

_RETRY_AFTER_S = 60
_FILE = "witness.json"
_BEYOND = 2**62
"""No serial and no mark comes this far; twice that is more than PostgreSQL counts."""
MARK = (column("epoch", Uuid), column("mark", BigInteger), column("reserved", JSONB))
_STAND = (
    *MARK,
    column("seen", JSONB),
    column("given", JSONB),
    column("age_s", Float),
    column("restored_at", AwareDateTime),
    column("lost", Boolean),
)


class NotAsWitnessed(DatabaseAway):
    """The database is not what its witness saw: as with any outage nothing is handled, counted or
    acknowledged, until people have looked."""

    code = "database.restored"
    title_zh = "数据库已从旧备份恢复，暂停服务，请稍后再试"
    title_en = "The database was brought back from an older copy; nothing is handled until that is mended"

    def __init__(self, detail_zh: str = "", detail_en: str = "") -> None:
        super().__init__(Outage.NOT_AS_WITNESSED, self)
        self.detail_zh, self.detail_en = detail_zh, detail_en
        self.retry_after_s = _RETRY_AFTER_S


class WitnessMissing(NotAsWitnessed):
    """The database has given out numbers, and its witness is not there."""

    code = "database.witness-missing"
    title_zh = "数据库的外部见证文件缺失，暂停服务，请稍后再试"
    title_en = "The witness of the database is missing; nothing is handled until that is mended"


class WitnessUnusable(NotAsWitnessed):
    """The witness cannot be read or written."""

    code = "database.witness-unusable"
    title_zh = "数据库的外部见证文件不可用，暂停服务，请稍后再试"
    title_en = "The witness of the database cannot be read or written; nothing is handled meanwhile"


@dataclass(frozen=True, slots=True)
class Mark:
    """What was seen: the epoch, how often it was marked, and up to where each serial may be given out."""

    epoch: UUID
    number: int
    reserved: Mapping[str, int]

    def with_all_of(self, other: "Mark") -> "Mark":
        """The later of two marks of one epoch in each respect."""
        names = {*self.reserved, *other.reserved}
        return Mark(
            self.epoch,
            max(self.number, other.number),
            {name: max(self.reserved.get(name, 0), other.reserved.get(name, 0)) for name in sorted(names)},
        )

    def is_beyond(self, other: "Mark") -> bool:
        """Something was seen that the other one does not know."""
        return (
            self.epoch != other.epoch
            or self.number > other.number
            or any(serial > other.reserved.get(name, 0) for name, serial in self.reserved.items())
        )


class Witness(Protocol):
    """Where marks are kept: never in the database, nor where its copies are."""

    def read(self) -> Mark | None:
        """The mark; None when there never was one. Raises WitnessUnusable."""

    def keep(self, mark: Mark, *, new_epoch: bool = False) -> None:
        """Durable when this returns; within an epoch nothing goes back. Raises WitnessUnusable."""

    def rewrite(self) -> None:
        """Keep once more what is kept, which tells whether anything can be. Raises WitnessUnusable."""


class FileWitness:
    """A file in a folder of its service, on a volume of its own. Processes of one machine may share it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / _FILE
        self._owner = _WhoseFolder(folder)

    def read(self) -> Mark | None:
        """As `Witness` says."""
        try:
            return _read(self.path.read_text(encoding="ascii"))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unusable(error) from None
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            raise WitnessUnusable(
                f"{self.path}：内容不是写入时的内容；请删除该文件，再运行 onestop restored",
                f"{self.path}: it is not what was written; delete the file, then run `onestop restored`",
            ) from None

    def keep(self, mark: Mark, *, new_epoch: bool = False) -> None:
        """As `Witness` says."""
        try:
            with self._alone():
                before = self.read()
                if before is not None and not new_epoch:
                    if before.epoch != mark.epoch:
                        raise NotAsWitnessed
                    mark = mark.with_all_of(before)
                if mark != before:
                    replace_private(self.path, _written(mark), self._owner)
        except OSError as error:
            raise self._unusable(error) from None

    def rewrite(self) -> None:
        """As `Witness` says. Only who may read it gets so far: a new one would belong to another user."""
        try:
            if self.path.exists():
                with self._alone():
                    before = self.read()
                    if before is not None:
                        replace_private(self.path, _written(before), self._owner)
        except OSError as error:
            raise self._unusable(error) from None

    def _alone(self) -> AbstractContextManager[None]:
        """Between the processes of a machine."""
        lock = self.path.with_suffix(".lock")
        lock.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
        self._owner.own(lock)
        return locked(handle)

    def _unusable(self, error: OSError) -> WitnessUnusable:
        reason = error.strerror or kind_of(error)
        return WitnessUnusable(f"{self.path}：{reason}", f"{self.path}: {reason}")


@dataclass(frozen=True, slots=True)
class Stand:
    """Where the database stands. `given`: the last value of each sequence that shows that something was done;
    `age_s`: seconds since it was marked; `lost`: facts were lost by a restore."""

    mark: Mark | None
    seen: Mapping[str, int | None]
    given: Mapping[str, int | None]
    age_s: float
    restored_at: datetime | None
    lost: bool
    serials: Mapping[str, int]

    @property
    def untouched(self) -> bool:
        """Nothing was ever said or given out."""
        return all(value is None for value in self.given.values())

    @property
    def moved(self) -> bool:
        """Something was done since the mark."""
        return self.given != self.seen

    def wanted(self) -> dict[str, int]:
        """How far serials are to be reserved now: there is always half a block ahead of what was given."""
        return {
            name: reserved
            if reserved - (self.given.get(name) or 0) >= BLOCK // 2
            else (self.given.get(name) or 0) + BLOCK
            for name, reserved in self.serials.items()
        }


def finding_of(stand: Stand, seen: Mark | None) -> NotAsWitnessed | None:
    """What is wrong with a database that stands so, by what its witness saw; None where nothing is."""
    if seen is None:
        # Nobody has begun yet, or the witness is gone.
        return None if stand.untouched else WitnessMissing()
    behind = stand.mark is None or seen.is_beyond(stand.mark)
    return NotAsWitnessed() if behind else None


def stand_of(service: str) -> Executable:
    """Asks where the database of a service stands; `read_stand` reads the answer."""
    return text(f"SELECT * FROM {service}.stand()").columns(*_STAND)


def read_stand(row: Row[Any]) -> Stand:
    """What the function `stand` of a schema answers."""
    mark = Mark(row.epoch, row.mark, row.reserved) if row.epoch is not None else None
    return Stand(mark, row.seen, row.given, row.age_s, row.restored_at, row.lost, row.reserved)


def read_mark(row: Row[Any]) -> Mark:
    """The mark in a row of the table `witness`."""
    return Mark(row.epoch, row.mark, row.reserved)


def _read(content: str) -> Mark:
    found = json.loads(content)
    reserved = {str(name): _number(serial) for name, serial in found["reserved"].items()}
    return Mark(UUID(found["epoch"]), _number(found["mark"]), reserved)


def _number(written: Any) -> int:
    number = int(written)
    if not 0 <= number < _BEYOND:
        raise ValueError(number)
    return number


def _written(mark: Mark) -> str:
    return json.dumps({"epoch": str(mark.epoch), "mark": mark.number, "reserved": dict(mark.reserved)}) + "\n"


@dataclass(frozen=True, slots=True)
class _WhoseFolder:
    """What root writes in a folder belongs to whose folder it is: the service must be able to read it."""

    folder: Path

    def own(self, path: Path) -> None:
        if os.geteuid() == 0:
            owner = self.folder.stat()
            os.chown(path, owner.st_uid, owner.st_gid)
