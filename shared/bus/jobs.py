"""Jobs: everything a service does outside its database, and everything it waits for.

A job is claimed in a committed transaction, called without a session, and its result committed under the same
epoch. A claim whose holder died or froze is taken over after its lease, with a new epoch, so that a holder
who comes back late changes nothing. Many are claimed in one transaction, called side by side, and what has
answered is written in one.
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from queue import Empty, SimpleQueue
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
"""How many are called at once, of a kind that says nothing else."""

WRITE_S = 0.05
"""How long at most an answer waits for others to be written with it."""

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


@runtime_checkable
class SideBySideHandler(Protocol):
    """One kind of job of which many are prepared together, ask another service one question, are called each
    by itself, side by side, and written together as they are answered."""

    at_once: int
    """How many calls may be under way at once; no more jobs are claimed."""

    def prepare(self, unit: Unit, jobs: Sequence[Job]) -> Sequence[Any]:
        """Read and mark what each call needs, in the order of the jobs; committed before the question."""

    def ask(self, prepared: Sequence[Any]) -> Sequence[Any]:
        """What these calls need to know from elsewhere: a request each, in their order. An exception from
        here is the answer of each."""

    def call(self, request: Any) -> Any:
        """The outside call of one job. An exception from here is given to `finish` as the answer."""

    def load(self, unit: Unit, jobs: Sequence[Job]) -> Any:
        """Fetch and lock all that finishing these jobs needs."""

    def finish(self, unit: Unit, job: Job, answer: Any, loaded: Any) -> Verdict:
        """Write what came of one job, in the transaction that also ends the claims of all."""


AnyHandler = JobHandler | TogetherHandler | SideBySideHandler

_Prepared = tuple[Sequence[Job], Any]
"""Jobs that ask one question or go into one call, and what it needs."""
_Answered = tuple[Job, Any]


class _Way:
    """How the jobs of one kind are run: `most` under way at once, `together` prepared as one.

    `asks`: they ask a question before they are called; `merges`: what comes of several calls is written
    together.
    """

    most = CLAIM
    together = 1
    asks = False
    merges = True

    def __init__(self, handler: Any) -> None:
        self.handler = handler

    def prepare(self, unit: Unit, jobs: Sequence[Job]) -> Any:
        return self.handler.prepare(unit, jobs)

    def load(self, unit: Unit, answered: Sequence[_Answered]) -> Any:
        return None

    def finish(self, unit: Unit, job: Job, answer: Any, loaded: Any) -> Verdict:
        raise NotImplementedError


class _Alone(_Way):
    def prepare(self, unit: Unit, jobs: Sequence[Job]) -> Any:
        return self.handler.prepare(unit, jobs[0])

    def finish(self, unit: Unit, job: Job, answer: Any, loaded: Any) -> Verdict:
        verdict: Verdict = self.handler.finish(unit, job, answer)
        return verdict


class _Together(_Way):
    merges = False

    def __init__(self, handler: TogetherHandler) -> None:
        super().__init__(handler)
        self.together = handler.together
        self.most = max(CLAIM, handler.together)

    def load(self, unit: Unit, answered: Sequence[_Answered]) -> Any:
        # They were one call, so the answer is the same for all.
        return self.handler.load(unit, [job for job, _ in answered], answered[0][1])

    def finish(self, unit: Unit, job: Job, answer: Any, loaded: Any) -> Verdict:
        verdict: Verdict = self.handler.finish(unit, job, loaded)
        return verdict


class _SideBySide(_Way):
    asks = True

    def __init__(self, handler: SideBySideHandler) -> None:
        super().__init__(handler)
        self.most = self.together = handler.at_once

    def load(self, unit: Unit, answered: Sequence[_Answered]) -> Any:
        return self.handler.load(unit, [job for job, _ in answered])

    def finish(self, unit: Unit, job: Job, answer: Any, loaded: Any) -> Verdict:
        verdict: Verdict = self.handler.finish(unit, job, answer, loaded)
        return verdict


def _way_of(handler: AnyHandler) -> _Way:
    if isinstance(handler, SideBySideHandler):
        return _SideBySide(handler)
    if isinstance(handler, TogetherHandler):
        return _Together(handler)
    return _Alone(handler)


class _Broken(Exception):
    """The code of these jobs failed, before or after their call; one of them is to blame."""

    def __init__(self, jobs: Sequence[Job], error: Exception) -> None:
        super().__init__(jobs[0].kind)
        self.jobs = jobs
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
    """Works off the jobs of one service. `more`: the last look left some that may be due at once."""

    def __init__(self, context: ServiceContext, handlers: Mapping[str, AnyHandler]) -> None:
        self._context = context
        self._ways = {kind: _way_of(handler) for kind, handler in handlers.items()}
        # A question has a thread besides those of the calls.
        threads = sum(way.most + 1 for way in self._ways.values())
        self._calls = ThreadPoolExecutor(max_workers=max(threads, 1), thread_name_prefix="job")
        self._came: SimpleQueue[list[_Answered] | Exception] = SimpleQueue()
        self._under_way: Counter[str] = Counter()
        self._answered: list[list[_Answered]] = []
        self.more = False
        schema = context.service
        self._claim = text(
            f"UPDATE {schema}.jobs j SET state = 'claimed', epoch = j.epoch + 1, attempts = j.attempts + 1, "
            "lease_until = clock_timestamp() + :lease FROM ("
            f"SELECT id, state AS before FROM {schema}.jobs WHERE kind = :kind AND "
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

    def run_once(self, look_again: Callable[[], bool] = lambda: False) -> int:
        """Claim what is due and run it; the number of jobs run.

        While calls are under way it asks `look_again` every WRITE_S whether to claim more, in place of those
        that have ended: a slow call holds up no other.
        """
        self._end_answered()
        ran = self._start(self._claim_due())
        while self._under_way.total():
            self._take_answers()
            # An outage is no reason to let go of the calls under way.
            with suppress(DatabaseAway):
                self._end_answered()
                if look_again():
                    ran += self._start(self._claim_due())
        # The outage once more, if there is one: with answers left there is no point in claiming.
        self._end_answered()
        return ran

    def _start(self, prepared: Sequence[_Prepared]) -> int:
        for jobs, request in prepared:
            self._under_way[jobs[0].kind] += len(jobs)
            self._in_thread(partial(self._ask, jobs, request))
        return sum(len(jobs) for jobs, _ in prepared)

    def _take_answers(self) -> None:
        """What comes within WRITE_S, or until nothing is under way any more."""
        answered: list[_Answered] = []
        until = time.monotonic() + WRITE_S
        while self._under_way.total():
            try:
                came = self._came.get(timeout=max(until - time.monotonic(), 0.0))
            except Empty:
                break
            if isinstance(came, Exception):
                raise came
            kind = came[0][0].kind
            self._under_way[kind] -= len(came)
            if self._ways[kind].merges:
                answered += came
            else:
                self._answered.append(came)
        for kind, way in self._ways.items():
            of_kind = [one for one in answered if one[0].kind == kind]
            self._answered += [of_kind[n : n + way.most] for n in range(0, len(of_kind), way.most)]

    def _end_answered(self) -> None:
        """Write what came of calls. An outage leaves the answers here, to be written by the next run, for as
        long as nobody has taken the jobs over; whoever does asks before it acts."""
        held_up: list[list[_Answered]] = []
        try:
            while self._answered:
                try:
                    self._finish(self._answered[0])
                except DatabaseAway as error:
                    # Somebody may be in the way of this one only; the others go on.
                    if error.outage not in (Outage.TIMED_OUT, Outage.CONTENDED):
                        raise
                    held_up += _halves(self._answered.pop(0))
                except _Broken as broken:
                    batch = self._answered[0]
                    if len(broken.jobs) == 1:
                        self._set_back(broken.jobs[0], broken.jobs[0].epoch, broken.error)
                        rest = [one for one in batch if one[0] is not broken.jobs[0]]
                        self._answered[:1] = [rest] if rest else []
                    else:
                        self._answered[:1] = _halves(batch)
                else:
                    self._answered.pop(0)
        finally:
            self._answered += held_up

    def _claim_due(self) -> list[_Prepared]:
        """Claim and prepare as many as can be called now. One whose own code fails, or leaves what cannot be
        written, is found by claiming fewer, and set back."""
        most = self._free()
        while most.total():
            jobs: list[Job] = []
            try:
                with unit_of(self._context, "jobs.claim") as unit:
                    jobs, more = self._claim_in(unit, most)
                    prepared = [self._prepare(unit, some) for some in self._calls_of(jobs)]
                    with _blamed_on(jobs):
                        unit.save()
                self.more = more
                return prepared
            except _Broken as broken:
                if len(broken.jobs) == 1:
                    # The claim was rolled back, so the epoch in the table is the one before.
                    self._set_back(broken.jobs[0], broken.jobs[0].epoch - 1, broken.error)
                    most = self._free()
                else:
                    most = Counter({kind: min(some, len(jobs) // 2) for kind, some in most.items()})
        return []

    def _free(self) -> Counter[str]:
        """How many more of each kind can be called now."""
        return Counter({kind: way.most - self._under_way[kind] for kind, way in self._ways.items()})

    def _claim_in(self, unit: Unit, most: Mapping[str, int]) -> tuple[list[Job], bool]:
        """What is due, and whether there may be more."""
        claimed: list[Job] = []
        more = False
        for kind, some in most.items():
            if some:
                values = {"lease": LEASE, "kind": kind, "most": some}
                found = [Job(*row) for row in unit.connection.execute(self._claim, values)]
                claimed += found
                more = more or len(found) == some
            else:
                more = True
        # By case, as batches lock their cases: by id, the two ran into deadlocks.
        return sorted(claimed, key=_place_of), more

    def _calls_of(self, jobs: Sequence[Job]) -> Iterator[Sequence[Job]]:
        """What is prepared as one."""
        for kind, way in self._ways.items():
            of_kind = [job for job in jobs if job.kind == kind]
            for start in range(0, len(of_kind), way.together):
                yield of_kind[start : start + way.together]

    def _prepare(self, unit: Unit, jobs: Sequence[Job]) -> _Prepared:
        with _blamed_on(jobs):
            return jobs, self._ways[jobs[0].kind].prepare(unit, jobs)

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

    def _in_thread(self, work: Callable[[], None]) -> None:
        def run() -> None:
            try:
                work()
            except Exception as error:
                # Nobody waits for this thread; whoever waits for answers raises it.
                self._came.put(error)

        self._calls.submit(run)

    def _ask(self, jobs: Sequence[Job], prepared: Any) -> None:
        """Find out what the calls need, if they ask, and make them side by side."""
        kind = jobs[0].kind
        way = self._ways[kind]
        if not way.asks:
            self._call(jobs, prepared)
            return
        fault_point(f"job.{kind}.ask.before")
        try:
            requests = way.handler.ask(prepared)
            fault_point(f"job.{kind}.ask.after")
        except Exception as error:
            self._came.put([(job, error) for job in jobs])
            return
        for job, request in zip(jobs, requests, strict=True):
            self._in_thread(partial(self._call, [job], request))

    def _call(self, jobs: Sequence[Job], request: Any) -> None:
        """The answer, or the exception: what it means for this kind of call is the handler's to say."""
        kind = jobs[0].kind
        fault_point(f"job.{kind}.call.before")
        try:
            answer = self._ways[kind].handler.call(request)
            fault_point(f"job.{kind}.call.after")
        except Exception as error:
            answer = error
        self._came.put([(job, answer) for job in jobs])

    def _finish(self, answered: Sequence[_Answered]) -> None:
        kind = answered[0][0].kind
        way = self._ways[kind]
        with unit_of(self._context, f"job.{kind}.result") as unit:
            mine = self._those_still_mine(unit, answered)
            if not mine:
                return
            jobs = [job for job, _ in mine]
            with _blamed_on(jobs):
                loaded = way.load(unit, mine)
            verdicts = []
            for job, answer in mine:
                with _blamed_on([job]):
                    verdicts.append((job, self._verdict(unit, job, answer, loaded)))
                fault_point(f"job.{kind}.finish.after")
            with _blamed_on(jobs):
                unit.save()
            unit.connection.execute(
                self._end,
                {"verdicts": json.dumps([_written(job, v, unit.wall) for job, v in verdicts])},
            )
        for _, verdict in verdicts:
            metrics.JOBS.labels(self._context.service, kind, _RESULT[type(verdict)]).inc()

    def _verdict(self, unit: Unit, job: Job, answer: Any, loaded: Any) -> Verdict:
        unit.cause = None
        if job.cause is not None:
            # What it says follows from the fact that left it, and is the same if it is said again.
            unit.cause = Cause(
                job.cause, job.correlation or job.cause, job.traceparent, what=f"/{job.kind}/{job.key}"
            )
        return self._ways[job.kind].finish(unit, job, answer, loaded)

    def _those_still_mine(self, unit: Unit, answered: Sequence[_Answered]) -> list[_Answered]:
        """In the order in which batches lock their cases."""
        jobs = [job for job, _ in answered]
        claims = {"ids": [job.id for job in jobs], "epochs": [job.epoch for job in jobs]}
        found = set(unit.connection.execute(self._still_mine, claims).scalars())
        for job in jobs:
            if job.id not in found:
                _log.warning("job_result_dropped", kind=job.kind, job=job.id, epoch=job.epoch)
        return sorted((one for one in answered if one[0].id in found), key=lambda one: _place_of(one[0]))


@contextmanager
def _blamed_on(jobs: Sequence[Job]) -> Iterator[None]:
    """Whatever fails in the block is the fault of one of these jobs, unless it is an outage."""
    try:
        yield
    except Exception as error:
        if outage_of(error) is not None:
            raise
        raise _Broken(jobs, error) from error


def _halves(batch: list[_Answered]) -> list[list[_Answered]]:
    half = len(batch) // 2
    return [some for some in (batch[:half], batch[half:]) if some]


def _place_of(job: Job) -> tuple[str, int]:
    return job.case or "", job.id


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
