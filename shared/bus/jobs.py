"""Jobs: everything a service does outside its database, and everything it waits for.

A job is claimed in a committed transaction, called without a session, and its result committed under the same
epoch. A claim whose holder died or froze is taken over after its lease, with a new epoch, so that a holder
who comes back late changes nothing.
"""

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol
from uuid import UUID

import structlog
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from shared import metrics
from shared.bus.context import ServiceContext
from shared.bus.unit import Cause, Unit, unit_of
from shared.db.outages import DatabaseAway, Outage, outage_of
from shared.describe import describe
from shared.faults import fault_point

_log = structlog.get_logger()

LEASE = timedelta(seconds=30)
"""Longer than any outside call may take (calls time out at 10 s at the latest)."""

CLAIM = 20

MAX_FAILURES = 10
"""Runs that ended in an exception of our own code, after which a job is left to people."""


@dataclass(frozen=True, slots=True)
class Job:
    """A claimed job. `attempts` counts this one; `taken_over` says the holder before vanished mid-call."""

    id: int
    kind: str
    key: str
    payload: dict[str, Any]
    case: str | None
    cause: UUID | None
    epoch: int
    attempts: int
    taken_over: bool


@dataclass(frozen=True, slots=True)
class Done:
    """The job is finished."""


@dataclass(frozen=True, slots=True)
class Again:
    """The job is to run again at `due_at`; `reason` is a code without personal data."""

    due_at: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The job cannot succeed; people are shown `reason`, a code without personal data."""

    reason: str


Verdict = Done | Again | GiveUp

_RESULT = {Done: "done", Again: "retry", GiveUp: "failed"}


class JobHandler(Protocol):
    """One kind of job. `prepare` and `finish` run in transactions, `call` runs without one."""

    def prepare(self, unit: Unit, job: Job) -> Any:
        """Read and mark what the call needs; committed before the call."""

    def call(self, prepared: Any) -> Any:
        """The outside call. An exception from here is given to `finish` as the answer."""

    def finish(self, unit: Unit, job: Job, answer: Any) -> Verdict:
        """Write what came of it, in the transaction that also ends the claim."""


class _Broken(Exception):
    """The code of one job failed, before or after its call."""

    def __init__(self, job: Job, error: Exception) -> None:
        super().__init__(job.kind)
        self.job = job
        self.error = error


def reopen_job(unit: Unit, kind: str, key: str, payload: dict[str, Any], case: str | None) -> None:
    """Let a job run again now that has ended, also when its row is gone by now. One under way stays so."""
    unit.connection.execute(
        text(
            f"INSERT INTO {unit.context.service}.jobs AS j (kind, key, payload, case_no, state, due_at, "
            "created_at) VALUES (:kind, :key, CAST(:payload AS jsonb), :case, 'due', :at, :at) "
            "ON CONFLICT (kind, key) DO UPDATE SET state = 'due', due_at = :at, attempts = 0, reason = NULL, "
            "finished_at = NULL WHERE j.state <> 'claimed'"
        ),
        {"kind": kind, "key": key, "payload": json.dumps(payload), "case": case, "at": unit.wall},
    )


class JobRunner:
    """Works off the jobs of one service."""

    def __init__(self, context: ServiceContext, handlers: Mapping[str, JobHandler]) -> None:
        self._context = context
        self._handlers = handlers
        self._calls = ThreadPoolExecutor(max_workers=CLAIM, thread_name_prefix="job")
        self._answered: list[tuple[Job, Any]] = []
        schema = context.service
        self._claim = text(
            f"UPDATE {schema}.jobs j SET state = 'claimed', epoch = j.epoch + 1, attempts = j.attempts + 1, "
            "lease_until = clock_timestamp() + :lease FROM ("
            f"SELECT id, state AS before FROM {schema}.jobs WHERE kind = ANY(:kinds) AND "
            "((state = 'due' AND due_at <= statement_timestamp()) "
            "OR (state = 'claimed' AND lease_until <= statement_timestamp())) "
            f"ORDER BY due_at LIMIT {CLAIM} FOR UPDATE SKIP LOCKED) AS c WHERE j.id = c.id "
            "RETURNING j.id, j.kind, j.key, j.payload, j.case_no, j.cause, j.epoch, j.attempts, "
            "c.before = 'claimed'"
        )
        self._still_mine = text(
            f"SELECT 1 FROM {schema}.jobs WHERE id = :id AND epoch = :epoch AND state = 'claimed' FOR UPDATE"
        )
        self._back = text(
            f"UPDATE {schema}.jobs SET state = :state, attempts = :attempts, due_at = :due_at, "
            "reason = :reason, lease_until = NULL, finished_at = :finished_at "
            "WHERE id = :id AND epoch = :epoch"
        )
        self._end = text(
            f"UPDATE {schema}.jobs SET state = :state, due_at = COALESCE(:due_at, due_at), reason = :reason, "
            "lease_until = NULL, finished_at = :finished_at WHERE id = :id"
        )

    def run_once(self) -> int:
        """Claim what is due and run it; the number of jobs run."""
        self._end_answered()
        prepared = self._claim_due()
        calls = {self._calls.submit(self._call, job, request): job for job, request in prepared}
        for call in as_completed(calls):
            self._answered.append((calls[call], call.result()))
            with suppress(DatabaseAway):
                self._end_answered()
        # The outage once more, if there is one: with answers left there is no point in claiming.
        self._end_answered()
        return len(prepared)

    def _end_answered(self) -> None:
        """Write what came of calls. An outage leaves the answers here, to be written by the next run, for as
        long as nobody has taken the jobs over; whoever does asks before it acts."""
        for answered in tuple(self._answered):
            try:
                self._end_one(*answered)
                self._answered.remove(answered)
            except DatabaseAway as error:
                # Somebody may be in the way of this one only; the others go on.
                if error.outage not in (Outage.TIMED_OUT, Outage.CONTENDED):
                    raise

    def _end_one(self, job: Job, answer: Any) -> None:
        try:
            self._finish(job, answer)
        except _Broken as broken:
            self._set_back(job, job.epoch, broken.error)
        except DBAPIError as error:
            # What it left to be written at the end cannot be written.
            self._set_back(job, job.epoch, error)

    def _claim_due(self) -> list[tuple[Job, Any]]:
        """Claim and prepare. A job whose own code fails is set back, and the others are claimed again."""
        while True:
            try:
                with unit_of(self._context, "jobs.claim") as unit:
                    found = unit.connection.execute(
                        self._claim, {"lease": LEASE, "kinds": sorted(self._handlers)}
                    )
                    # By case, as batches lock their cases: by id, the two ran into deadlocks.
                    jobs = sorted((Job(*row) for row in found), key=lambda j: (j.case or "", j.id))
                    return [(job, self._prepare(unit, job)) for job in jobs]
            except _Broken as broken:
                # The claim was rolled back, so the epoch in the table is the one before.
                self._set_back(broken.job, broken.job.epoch - 1, broken.error)

    def _prepare(self, unit: Unit, job: Job) -> Any:
        try:
            return self._handlers[job.kind].prepare(unit, job)
        except Exception as error:
            if outage_of(error) is not None:
                raise
            raise _Broken(job, error) from error

    def _verdict(self, unit: Unit, job: Job, answer: Any) -> Verdict:
        try:
            return self._handlers[job.kind].finish(unit, job, answer)
        except Exception as error:
            if outage_of(error) is not None:
                raise
            raise _Broken(job, error) from error

    def _set_back(self, job: Job, epoch: int, error: Exception) -> None:
        """Try a job again later whose own code failed; after MAX_FAILURES it is left to people."""
        _log.error("job_failed", kind=job.kind, job=job.id, exc_info=error)
        with unit_of(self._context, "jobs.set_back") as unit:
            unit.connection.execute(
                self._back,
                {
                    "id": job.id,
                    "epoch": epoch,
                    "attempts": job.attempts,
                    "state": "failed" if job.attempts >= MAX_FAILURES else "due",
                    "due_at": unit.wall + timedelta(seconds=min(2.0**job.attempts, 600.0)),
                    "finished_at": unit.wall if job.attempts >= MAX_FAILURES else None,
                    "reason": describe(error)[:300],
                },
            )

    def close(self) -> None:
        """Let the calls under way end; no new ones start."""
        self._calls.shutdown(wait=False, cancel_futures=True)

    def _call(self, job: Job, request: Any) -> Any:
        """The answer, or the exception: what it means for this kind of call is the handler's to say."""
        fault_point(f"job.{job.kind}.call.before")
        try:
            answer = self._handlers[job.kind].call(request)
            fault_point(f"job.{job.kind}.call.after")
            return answer
        except Exception as error:
            return error

    def _finish(self, job: Job, answer: Any) -> None:
        with unit_of(self._context, f"job.{job.kind}.result") as unit:
            mine = unit.connection.execute(self._still_mine, {"id": job.id, "epoch": job.epoch}).first()
            if mine is None:
                _log.warning("job_result_dropped", kind=job.kind, job=job.id, epoch=job.epoch)
                return
            if job.cause is not None:
                # What it says follows from the fact that left it, and is the same if it is said again.
                unit.cause = Cause(job.cause, job.cause, what=f"/{job.kind}/{job.key}")
            verdict = self._verdict(unit, job, answer)
            self._settle(unit, job, verdict)
        metrics.JOBS.labels(self._context.service, job.kind, _RESULT[type(verdict)]).inc()

    def _settle(self, unit: Unit, job: Job, verdict: Verdict) -> None:
        values: dict[str, Any] = {"id": job.id, "due_at": None, "reason": None, "finished_at": None}
        match verdict:
            case Done():
                values |= {"state": "done", "finished_at": unit.wall}
            case Again(due_at, reason):
                values |= {"state": "due", "due_at": due_at, "reason": reason[:300]}
            case GiveUp(reason):
                values |= {"state": "failed", "reason": reason[:300], "finished_at": unit.wall}
        unit.connection.execute(self._end, values)
