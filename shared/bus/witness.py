"""A small witness outside the database: how far a service's serials were given out, and in which epoch.

A database that was brought back from an older copy looks whole from within, and would give out numbers once
more that people already hold. So each service keeps a mark both in its schema and in a file that is not
restored with it. The database is written first, so it is never behind unless it is an older copy; then the
service does nothing until `onestop restored` has jumped past all that was seen and begun a new epoch.

Neither costs a statement or an fsync a case: serials are reserved in blocks ahead of their use, and the mark
moves at most once a second, while something is done.
"""

import fcntl
import json
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

import structlog
from sqlalchemy import BigInteger, Boolean, Engine, Executable, Float, Row, Uuid, column, text
from sqlalchemy.dialects.postgresql import JSONB

from shared import metrics
from shared.db.outages import DatabaseAway, Outage
from shared.db.transaction import call, transaction
from shared.db.types import AwareDateTime
from shared.describe import kind_of
from shared.events.ids import new_id

_log = structlog.get_logger()

BLOCK = 1000
"""Serials reserved at once."""

EVERY_S = 1.0
"""How often a process looks; also how much may be done after a copy that a restore of it would hide."""

_RETRY_AFTER_S = 60
_FILE = "witness.json"
_BEYOND = 2**62
"""No serial and no mark comes this far; twice that is more than PostgreSQL counts."""
_MARK = (column("epoch", Uuid), column("mark", BigInteger), column("reserved", JSONB))
_STAND = (
    *_MARK,
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
            with _locked(self.path.with_suffix(".lock")):
                before = self.read()
                if before is not None and not new_epoch:
                    if before.epoch != mark.epoch:
                        raise NotAsWitnessed
                    mark = mark.with_all_of(before)
                if mark != before:
                    _replace(self.path, _written(mark))
        except OSError as error:
            raise self._unusable(error) from None

    def rewrite(self) -> None:
        """As `Witness` says. Only who may read it gets so far: a new one would belong to another user."""
        try:
            if self.path.exists():
                with _locked(self.path.with_suffix(".lock")):
                    before = self.read()
                    if before is not None:
                        _replace(self.path, _written(before))
        except OSError as error:
            raise self._unusable(error) from None

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


class Guard:
    """Compares a service's database with its witness, once a second and before anything is done.

    One per service and process. `ready()` raises what was found the last time.
    """

    def __init__(self, service: str, engine: Engine, witness: Witness) -> None:
        self.service = service
        self.witness = witness
        self._engine = engine
        self._stand = stand_of(service)
        self._move = text(
            f"UPDATE {service}.witness AS w SET mark = w.mark + 1, marked_at = clock_timestamp(), "
            "seen = s.given, reserved = (SELECT COALESCE(jsonb_object_agg(r.key, GREATEST("
            "CAST(r.value AS bigint), CAST(w.reserved->>r.key AS bigint))), '{}') "
            "FROM jsonb_each_text(w.reserved || CAST(:wanted AS jsonb)) AS r) "
            f"FROM {service}.stand() AS s WHERE w.epoch = :epoch AND w.mark >= :least "
            "AND w.mark <= COALESCE(CAST(:most AS bigint), w.mark) RETURNING w.epoch, w.mark, w.reserved"
        ).columns(*_MARK)
        self._looked = False
        self._ending = False
        self._finding: NotAsWitnessed | None = None
        self._lock = threading.Lock()
        self._known: Mark | None = None
        self.restored_at: datetime | None = None
        """When the database was brought back from a copy, if it was: what was said before may have been
        handled before."""
        self._lost: tuple[UUID | None, frozenset[str]] = (None, frozenset())

    def ready(self) -> None:
        """Raises NotAsWitnessed while the database is not what its witness saw."""
        if not self._looked:
            self.look()
        if self._finding is not None:
            raise type(self._finding)(self._finding.detail_zh, self._finding.detail_en)

    def has_lost(self, case: str) -> bool:
        """Others have heard facts of this service about the case that it does not know any more."""
        return case in self._lost[1]

    def look(self) -> None:
        """Compare, and move the mark on where something was done. An outage of the database changes nothing.

        Raises DatabaseAway.
        """
        with self._lock:
            before = self._finding
            try:
                self._look()
                self._finding = None
            except NotAsWitnessed as error:
                self._finding = error
            self._looked = True
            metrics.NOT_AS_WITNESSED.labels(self.service).set(self._finding is not None)
            if kind_of_finding(before) != kind_of_finding(self._finding):
                say = _log.error if self._finding is not None else _log.info
                say("witness", service=self.service, finding=kind_of_finding(self._finding))

    def watch(self, stopping: threading.Event) -> None:
        """Look again and again until told to stop."""
        while not stopping.wait(EVERY_S):
            try:
                self.look()
            except DatabaseAway as error:
                _log.warning("witness_repeats", service=self.service, error=kind_of(error))

    def finish(self) -> None:
        """The last look of a process that ends in order: what it did last is marked, however young the mark.
        Without the database it stays unmarked."""
        self._ending = True
        try:
            self.look()
        except DatabaseAway as error:
            _log.warning("witness_left", service=self.service, error=kind_of(error))

    def take_serials(self, rows: Sequence[Row[Any]], name: str) -> list[int]:
        """Serials as `serials` found them, each with the epoch and mark of its moment, once they may be used:
        before the first one of a block its witness knows the block.

        Raises NotAsWitnessed when the database was exchanged under us since the last look.
        """
        self.ready()
        known = self._known
        assert known is not None
        for row in rows:
            if row.epoch != known.epoch or row.mark < known.number:
                self.look()
                self.ready()
                known = self._known
                assert known is not None
            if row.serial > known.reserved.get(name, 0):
                if not self._reserve({name: row.serial + BLOCK}):
                    raise NotAsWitnessed
                known = self._known
                assert known is not None
        return [int(row.serial) for row in rows]

    def _look(self) -> None:
        # The witness first: what it knows the database has known before.
        seen = self.witness.read()
        stand = self.stand()
        self.restored_at = stand.restored_at
        if seen is None:
            if not stand.untouched:
                raise WitnessMissing()
            self._begin()
        elif stand.mark is None or seen.is_beyond(stand.mark):
            raise NotAsWitnessed()
        else:
            if stand.mark.is_beyond(seen):
                # Somebody died between the two.
                self.witness.keep(stand.mark)
            self._known = stand.mark
            if stand.lost and self._lost[0] != stand.mark.epoch:
                self._lost = (stand.mark.epoch, self._lost_cases())
        wanted = stand.wanted()
        # A mark that is dated ahead was made by a clock that was fast: nobody knows how old it is.
        young = 0 <= stand.age_s < EVERY_S and not self._ending
        if wanted != stand.serials or (stand.moved and not young):
            # Whoever else has just done so has done it for all.
            self._reserve(wanted, stand.mark)

    def _lost_cases(self) -> frozenset[str]:
        with transaction(self._engine, "witness.lost") as connection:
            return frozenset(
                connection.execute(text(f"SELECT DISTINCT case_no FROM {self.service}.lost_facts")).scalars()
            )

    def stand(self) -> Stand:
        """Where the database stands now."""
        return read_stand(call(self._engine, "witness.look", self._stand, {}))

    def _begin(self) -> None:
        """The first epoch of a database that nothing was done with."""
        with transaction(self._engine, "witness.begin") as connection:
            row = connection.execute(
                text(
                    f"UPDATE {self.service}.witness SET epoch = COALESCE(epoch, :epoch), "
                    "mark = GREATEST(mark, 1) RETURNING epoch, mark, reserved"
                ).columns(*_MARK),
                {"epoch": new_id()},
            ).one()
        self._known = read_mark(row)
        self.witness.keep(self._known)

    def _reserve(self, wanted: Mapping[str, int], only_after: Mark | None = None) -> bool:
        """Move the mark on: in the database, then in the witness; only then may what it reserves be used.
        Not where the database is behind what is known, or past the mark `only_after`."""
        known = self._known
        assert known is not None
        with transaction(self._engine, "witness.mark") as connection:
            row = connection.execute(
                self._move,
                {
                    "wanted": json.dumps(dict(wanted)),
                    "epoch": known.epoch,
                    "least": known.number,
                    "most": only_after.number if only_after else None,
                },
            ).first()
        if row is None:
            return False
        mark = read_mark(row)
        self.witness.keep(mark)
        self._known = mark
        return True


def kind_of_finding(finding: NotAsWitnessed | None) -> str:
    """The code of a finding, `none` where there is none."""
    return finding.code if finding is not None else "none"


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


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Between the processes of a machine."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    _give_to_the_owner(handle, path.parent)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _replace(path: Path, content: str) -> None:
    """The old one or the new one at every moment, also after a power cut."""
    half = path.with_suffix(".half")
    handle = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    _give_to_the_owner(handle, path.parent)
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    half.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _give_to_the_owner(handle: int, folder: Path) -> None:
    """What root writes here belongs to whose folder it is: the service must be able to read it."""
    if os.geteuid() == 0:
        owner = folder.stat()
        os.fchown(handle, owner.st_uid, owner.st_gid)
