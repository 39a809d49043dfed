"""Whether a service's database is what its witness saw: asked once a second, and before anything is done."""

import json
import threading
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import Engine, Row, text

from shared import metrics
from shared.bus.witness import (
    BLOCK,
    MARK,
    Mark,
    NotAsWitnessed,
    Stand,
    Witness,
    finding_of,
    read_mark,
    read_stand,
    stand_of,
)
from shared.db.outages import DatabaseAway
from shared.db.transaction import call, transaction
from shared.describe import kind_of
from shared.events.ids import new_id

_log = structlog.get_logger()

EVERY_S = 1.0
"""How often a process looks; also how much may be done after a copy that a restore of it would hide."""


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
        ).columns(*MARK)
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
        found = finding_of(stand, seen)
        if found is not None:
            raise found
        if seen is None or stand.mark is None:
            self._begin()
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
                ).columns(*MARK),
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
