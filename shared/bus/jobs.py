"""Jobs: everything a service does outside its database, and everything it waits for.

A job is claimed in a committed transaction, called without a session, and its result committed under the same
epoch. A claim whose holder died or froze is taken over after its lease, with a new epoch, so that a holder
who comes back late changes nothing.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol, runtime_checkable
from uuid import UUID

import structlog
from sqlalchemy import text

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
    correlation: UUID | None = None
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """The job is finished."""


@dataclass(frozen=True, slots=True)
class Again:
    """The job is to run again at `due_at`; `reason` is a code without personal data. Not `counted`: somebody
    was away, which is nobody's fault."""

    due_at: datetime
    reason: str
    counted: bool = True


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The job cannot succeed; people are shown `reason`, a code without personal data."""

    reason: str


Verdict = Done | Again | GiveUp

_RESULT = {Done: "done", Again: "retry", GiveUp: "failed"}


class JobHandler(Protocol):
    """One kind of job, called one by one. `prepare` and `finish` run in transactions, `call` without one."""

    def prepare(self, unit: Unit, job: Job) -> Any:
        """Read and mark what the call needs; committed before the call."""

    def call(self, prepared: Any) -> Any:
        """The outside call. An exception from here is given to `finish` as the answer."""

    def finish(self, unit: Unit, job: Job, answer: Any) -> Verdict:
        """Write what came of it, in the transaction that also ends the claim."""


@runtime_checkable
class TogetherHandler(Protocol):
    """One kind of job of which many are done by one call: one question, one answer, one transaction for what
    came of it. When that fails, halves of them finish with the same answer, down to the one that fails."""

    together: int
    """How many at most go into one call."""

    def prepare(self, unit: Unit, jobs: Sequence[Job]) -> Any:
        """Read and mark what the call needs; committed before the call."""

    def call(self, prepared: Any) -> Any:
        """The outside call. An exception from here is given to `load` as the answer."""

    def load(self, unit: Unit, jobs: Sequence[Job], answer: Any) -> Any:
        """Fetch and lock all that finishing these jobs needs; they may be fewer than were called for."""

    def finish(self, unit: Unit, job: Job, loaded: Any) -> Verdict:
        """Write what came of one job, in the transaction that also ends the claims of all."""


@dataclass(slots=True)
class _Alone:
    """A kind that is called one by one, as one of which one goes into a call."""

    handler: JobHandler
    together: int = 1

    def prepare(self, unit: Unit, jobs: Sequence[Job]) -> Any:
        return self.handler.prepare(unit, jobs[0])

    def call(self, prepared: Any) -> Any:
        return self.handler.call(prepared)

    def load(self, unit: Unit, jobs: Sequence[Job], answer: Any) -> Any:
        return answer

    def finish(self, unit: Unit, job: Job, loaded: Any) -> Verdict:
        return self.handler.finish(unit, job, loaded)


class _Broken(Exception):
    """The code of these jobs failed, before or after their call; one of them is to blame."""

    def __init__(self, jobs: Sequence[Job], error: Exception) -> None:
        super().__init__(jobs[0].kind)
        self.jobs = jobs
        self.error = error


_Prepared = tuple[Sequence[Job], Any]
"""Jobs that go into one call, and what it needs."""
_Answered = tuple[Sequence[Job], Any]


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
    """Works off the jobs of one service. `more`: the last run left some that may be due at once."""

    def __init__(self, context: ServiceContext, handlers: Mapping[str, JobHandler | TogetherHandler]) -> None:
        self._context = context
        self._handlers: dict[str, TogetherHandler] = {
            kind: handler if isinstance(handler, TogetherHandler) else _Alone(handler)
            for kind, handler in handlers.items()
        }
        self._calls = ThreadPoolExecutor(max_workers=CLAIM, thread_name_prefix="job")
        self._most = max([CLAIM, *(handler.together for handler in self._handlers.values())])
        self._answered: list[_Answered] = []
        self.more = False
        schema = context.service
        self._claim = text(
            f"UPDATE {schema}.jobs j SET state = 'claimed', epoch = j.epoch + 1, attempts = j.attempts + 1, "
            "lease_until = clock_timestamp() + :lease FROM ("
            f"SELECT id, state AS before FROM {schema}.jobs WHERE kind = ANY(:kinds) AND "
            "((state = 'due' AND due_at <= statement_timestamp()) "
            "OR (state = 'claimed' AND lease_until <= statement_timestamp())) "
            "ORDER BY due_at LIMIT :most FOR UPDATE SKIP LOCKED) AS c WHERE j.id = c.id "
            "RETURNING j.id, j.kind, j.key, j.payload, j.case_no, j.cause, j.epoch, j.attempts, "
            "c.before = 'claimed', j.correlation, j.traceparent"
        )
        self._still_mine = text(
            f"SELECT j.id FROM {schema}.jobs AS j "
            "JOIN unnest(CAST(:ids AS bigint[]), CAST(:epochs AS int[])) AS c(id, epoch) USING (id, epoch) "
            "WHERE j.state = 'claimed' ORDER BY j.id FOR UPDATE OF j"
        )
        self._back = text(
            f"UPDATE {schema}.jobs SET state = :state, attempts = :attempts, due_at = :due_at, "
            "reason = :reason, lease_until = NULL, finished_at = :finished_at "
            "WHERE id = :id AND epoch = :epoch"
        )
        self._end = text(
            f"UPDATE {schema}.jobs AS j SET state = v.state, due_at = COALESCE(v.due_at, j.due_at), "
            "reason = v.reason, attempts = j.attempts - v.uncounted, lease_until = NULL, "
            "finished_at = v.finished_at FROM jsonb_to_recordset(CAST(:verdicts AS jsonb)) "
            "AS v(id bigint, state text, due_at timestamptz, reason text, uncounted int, "
            "finished_at timestamptz) WHERE j.id = v.id"
        )

    def run_once(self) -> int:
        """Claim what is due and run it; the number of jobs run."""
        self._end_answered()
        prepared = self._claim_due()
        calls = {self._calls.submit(self._call, jobs, request): jobs for jobs, request in prepared}
        for call in as_completed(calls):
            self._answered.append((calls[call], call.result()))
            with suppress(DatabaseAway):
                self._end_answered()
        # The outage once more, if there is one: with answers left there is no point in claiming.
        self._end_answered()
        return sum(len(jobs) for jobs, _ in prepared)

    def _end_answered(self) -> None:
        """Write what came of calls. An outage leaves the answers here, to be written by the next run, for as
        long as nobody has taken the jobs over; whoever does asks before it acts."""
        held_up: list[_Answered] = []
        try:
            while self._answered:
                try:
                    self._finish(*self._answered[0])
                except DatabaseAway as error:
                    # Somebody may be in the way of this one only; the others go on.
                    if error.outage not in (Outage.TIMED_OUT, Outage.CONTENDED):
                        raise
                    held_up += _halves(*self._answered.pop(0))
                except _Broken as broken:
                    jobs, answer = self._answered[0]
                    if len(jobs) == 1:
                        self._set_back(jobs[0], jobs[0].epoch, broken.error)
                    self._answered[:1] = _halves(jobs, answer) if len(jobs) > 1 else []
                else:
                    self._answered.pop(0)
        finally:
            self._answered += held_up

    def _claim_due(self) -> list[_Prepared]:
        """Claim and prepare. One whose own code fails, or leaves what cannot be written, is found by claiming
        fewer, and set back."""
        most, claimed = self._most, 0
        while True:
            try:
                with unit_of(self._context, "jobs.claim") as unit:
                    jobs = self._claim_in(unit, most)
                    claimed = len(jobs)
                    prepared = [self._prepare(unit, some) for some in self._calls_of(jobs)]
                    with _blamed_on(jobs):
                        unit.save()
                self.more = claimed == most
                return prepared
            except _Broken as broken:
                if len(broken.jobs) == 1:
                    # The claim was rolled back, so the epoch in the table is the one before.
                    self._set_back(broken.jobs[0], broken.jobs[0].epoch - 1, broken.error)
                    most = self._most
                else:
                    most = claimed // 2

    def _claim_in(self, unit: Unit, most: int) -> list[Job]:
        found = unit.connection.execute(
            self._claim, {"lease": LEASE, "kinds": sorted(self._handlers), "most": most}
        )
        # By case, as batches lock their cases: by id, the two ran into deadlocks.
        return sorted((Job(*row) for row in found), key=lambda j: (j.case or "", j.id))

    def _calls_of(self, jobs: Sequence[Job]) -> Iterator[Sequence[Job]]:
        """What goes into one call each."""
        for kind, handler in self._handlers.items():
            of_kind = [job for job in jobs if job.kind == kind]
            for start in range(0, len(of_kind), handler.together):
                yield of_kind[start : start + handler.together]

    def _prepare(self, unit: Unit, jobs: Sequence[Job]) -> _Prepared:
        with _blamed_on(jobs):
            return jobs, self._handlers[jobs[0].kind].prepare(unit, jobs)

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

    def _call(self, jobs: Sequence[Job], request: Any) -> Any:
        """The answer, or the exception: what it means for this kind of call is the handler's to say."""
        kind = jobs[0].kind
        fault_point(f"job.{kind}.call.before")
        try:
            answer = self._handlers[kind].call(request)
            fault_point(f"job.{kind}.call.after")
            return answer
        except Exception as error:
            return error

    def _finish(self, jobs: Sequence[Job], answer: Any) -> None:
        kind = jobs[0].kind
        handler = self._handlers[kind]
        with unit_of(self._context, f"job.{kind}.result") as unit:
            mine = self._those_still_mine(unit, jobs)
            if not mine:
                return
            with _blamed_on(mine):
                loaded = handler.load(unit, mine, answer)
                verdicts = [self._verdict(unit, job, loaded) for job in mine]
                unit.save()
            unit.connection.execute(
                self._end,
                {"verdicts": json.dumps([_written(job, v, unit.wall) for job, v in verdicts])},
            )
        for _, verdict in verdicts:
            metrics.JOBS.labels(self._context.service, kind, _RESULT[type(verdict)]).inc()

    def _verdict(self, unit: Unit, job: Job, loaded: Any) -> tuple[Job, Verdict]:
        unit.cause = None
        if job.cause is not None:
            # What it says follows from the fact that left it, and is the same if it is said again.
            unit.cause = Cause(
                job.cause, job.correlation or job.cause, job.traceparent, what=f"/{job.kind}/{job.key}"
            )
        return job, self._handlers[job.kind].finish(unit, job, loaded)

    def _those_still_mine(self, unit: Unit, jobs: Sequence[Job]) -> list[Job]:
        claims = {"ids": [job.id for job in jobs], "epochs": [job.epoch for job in jobs]}
        found = set(unit.connection.execute(self._still_mine, claims).scalars())
        for job in jobs:
            if job.id not in found:
                _log.warning("job_result_dropped", kind=job.kind, job=job.id, epoch=job.epoch)
        return [job for job in jobs if job.id in found]


@contextmanager
def _blamed_on(jobs: Sequence[Job]) -> Iterator[None]:
    """Whatever fails in the block is the fault of one of these jobs, unless it is an outage."""
    try:
        yield
    except Exception as error:
        if outage_of(error) is not None:
            raise
        raise _Broken(jobs, error) from error


def _halves(jobs: Sequence[Job], answer: Any) -> list[_Answered]:
    half = len(jobs) // 2
    return [(some, answer) for some in (jobs[:half], jobs[half:]) if some]


def _written(job: Job, verdict: Verdict, at: datetime) -> dict[str, Any]:
    values: dict[str, Any] = {"id": job.id, "uncounted": 0}
    match verdict:
        case Done():
            values |= {"state": "done", "finished_at": at.isoformat()}
        case Again(due_at, reason, counted):
            values |= {"state": "due", "due_at": due_at.isoformat(), "reason": reason[:300]}
            values["uncounted"] = 0 if counted else 1
        case GiveUp(reason):
            values |= {"state": "failed", "reason": reason[:300], "finished_at": at.isoformat()}
    return values
