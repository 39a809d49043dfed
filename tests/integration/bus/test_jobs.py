"""Jobs: claimed in a committed transaction, taken over when the holder is gone, never sent blindly again."""

import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from services.notify.models import Case
from shared import faults
from shared.bus.jobs import Again, Done, GiveUp, Job, JobRunner, Verdict
from shared.bus.unit import Cause, Unit, unit_of
from shared.db.outages import DatabaseAway
from shared.db.roles import app_role
from shared.events.ids import new_id
from shared.faults import InjectedFault
from tests.integration.bus.test_statements import counted
from tests.support.installation import Installation

KIND = "test.call"


@dataclass
class Scripted:
    """A kind of job whose calls and verdicts a test writes down."""

    verdicts: list[Verdict] = field(default_factory=list)
    prepared: list[Job] = field(default_factory=list)
    finished: list[Any] = field(default_factory=list)
    during: Any = None

    def prepare(self, unit: Unit, job: Job) -> Any:
        self.prepared.append(job)
        return job.payload

    def call(self, prepared: Any) -> Any:
        return self.during() if self.during else prepared["n"]

    def finish(self, unit: Unit, job: Job, answer: Any) -> Verdict:
        self.finished.append(answer)
        return self.verdicts.pop(0) if self.verdicts else Done()


def leave(db_installation: Installation, *keys: str) -> None:
    with unit_of(db_installation.context("notify"), "test.leave") as unit:
        for n, key in enumerate(keys):
            unit.later(KIND, key, {"n": n})


@pytest.fixture
def runner(db_installation: Installation) -> Iterator[tuple[JobRunner, Scripted]]:
    handler = Scripted()
    made = JobRunner(db_installation.context("notify"), {KIND: handler})
    yield made, handler
    made.close()


def row(db_installation: Installation) -> Any:
    return db_installation.rows("SELECT state, epoch, attempts, reason, lease_until FROM notify.jobs")[0]


def test_the_same_job_is_left_once_and_done_once(
    db_installation: Installation, runner: tuple[JobRunner, Scripted]
) -> None:
    leave(db_installation, "a", "b")
    leave(db_installation, "b", "c")

    assert runner[0].run_once() == 3
    assert runner[0].run_once() == 0
    assert db_installation.rows("SELECT DISTINCT state FROM notify.jobs") == [("done",)]


def send_away(db_installation: Installation) -> None:
    """No session with the database any more, and no new one."""
    role = app_role("notify")
    db_installation.change(f"ALTER ROLE {role} CONNECTION LIMIT 0")
    db_installation.change(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'")


def let_back(db_installation: Installation) -> None:
    db_installation.change(f"ALTER ROLE {app_role('notify')} CONNECTION LIMIT -1")


def test_an_answer_that_an_outage_kept_from_being_written_is_not_asked_for_again(
    db_installation: Installation, runner: tuple[JobRunner, Scripted]
) -> None:
    jobs_, handler = runner
    leave(db_installation, "a", "b")
    # Jobs are called side by side, and PostgreSQL refuses two changes of one role at once.
    one_at_a_time = threading.Lock()

    def go_away() -> str:
        with one_at_a_time:
            send_away(db_installation)
        return "done"

    handler.during = go_away
    try:
        with pytest.raises(DatabaseAway):
            jobs_.run_once()
        with pytest.raises(DatabaseAway):
            jobs_.run_once()
    finally:
        let_back(db_installation)
    assert jobs_.run_once() == 0, "nothing is claimed anew"

    found = db_installation.rows("SELECT DISTINCT state, epoch, attempts FROM notify.jobs")
    assert found == [("done", 1, 1)]
    assert len(handler.prepared) == len(handler.finished) == 2


def test_a_job_whose_row_is_locked_holds_up_no_other(
    db_installation: Installation, runner: tuple[JobRunner, Scripted]
) -> None:
    jobs_, handler = runner
    role, database = app_role("notify"), db_installation.settings.db.name
    db_installation.change(f"ALTER ROLE {role} IN DATABASE {database} SET lock_timeout = '100ms'")
    states = "SELECT key, state, epoch FROM notify.jobs ORDER BY key"
    leave(db_installation, "a")
    with db_installation.admin.begin() as somebody:
        lock = text("SELECT 'locked' FROM notify.jobs FOR UPDATE")
        handler.during = lambda: somebody.execute(lock).scalar_one()
        assert jobs_.run_once() == 1
        handler.during = None
        leave(db_installation, "b", "c")
        assert jobs_.run_once() == 2
        assert db_installation.rows(states) == [("a", "claimed", 1), ("b", "done", 1), ("c", "done", 1)]
    assert jobs_.run_once() == 0
    assert handler.finished[-1] == "locked", "the answer of the first is written last"

    assert db_installation.rows(states) == [("a", "done", 1), ("b", "done", 1), ("c", "done", 1)]


def test_again_and_giving_up(db_installation: Installation, runner: tuple[JobRunner, Scripted]) -> None:
    jobs_, handler = runner
    leave(db_installation, "a")
    later = db_installation.value("SELECT clock_timestamp()") + timedelta(hours=1)
    handler.verdicts = [Again(later, "busy"), GiveUp("no-contact")]

    assert jobs_.run_once() == 1
    assert (row(db_installation).state, row(db_installation).reason) == ("due", "busy")
    assert jobs_.run_once() == 0, "not before its time"
    db_installation.change("UPDATE notify.jobs SET due_at = due_at - interval '2 hours'")
    assert jobs_.run_once() == 1

    assert (row(db_installation).state, row(db_installation).reason, row(db_installation).attempts) == (
        "failed",
        "no-contact",
        2,
    )
    assert jobs_.run_once() == 0


def test_a_claim_whose_holder_died_is_taken_over_under_a_new_epoch(
    db_installation: Installation, runner: tuple[JobRunner, Scripted]
) -> None:
    jobs_, handler = runner
    leave(db_installation, "a")
    faults.plan_faults("jobs.claim.commit.after:1:raise")
    with pytest.raises(InjectedFault):
        jobs_.run_once()
    assert (row(db_installation).state, row(db_installation).epoch) == ("claimed", 1)
    assert jobs_.run_once() == 0, "the lease of a live holder is respected"

    db_installation.change("UPDATE notify.jobs SET lease_until = lease_until - interval '1 hour'")
    assert jobs_.run_once() == 1

    assert [(job.epoch, job.attempts, job.taken_over) for job in handler.prepared] == [
        (1, 1, False),
        (2, 2, True),
    ]
    assert row(db_installation).state == "done"


def test_the_result_of_a_holder_that_comes_back_late_is_dropped(
    db_installation: Installation, runner: tuple[JobRunner, Scripted]
) -> None:
    slow, handler = runner
    heir_handler = Scripted(verdicts=[GiveUp("heir")])
    heir = JobRunner(db_installation.context("notify"), {KIND: heir_handler})
    leave(db_installation, "a")

    def overtaken() -> str:
        db_installation.change("UPDATE notify.jobs SET lease_until = lease_until - interval '1 hour'")
        heir.run_once()
        return "too late"

    handler.during = overtaken
    assert slow.run_once() == 1
    heir.close()

    assert handler.finished == []
    assert heir_handler.finished == [0]
    assert (row(db_installation).state, row(db_installation).reason) == ("failed", "heir")


def test_an_exception_of_the_call_is_its_answer(
    db_installation: Installation, runner: tuple[JobRunner, Scripted]
) -> None:
    jobs_, handler = runner
    leave(db_installation, "a")

    def fail() -> None:
        raise ConnectionResetError

    handler.during = fail
    assert jobs_.run_once() == 1
    assert [type(answer) for answer in handler.finished] == [ConnectionResetError]


@pytest.mark.parametrize("where", ["prepare", "finish"])
def test_a_job_whose_own_code_fails_does_not_stop_its_neighbours(
    db_installation: Installation,
    runner: tuple[JobRunner, Scripted],
    where: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    jobs_, handler = runner
    leave(db_installation, "a", "b", "c")
    good = getattr(handler, where)

    def broken(unit: Unit, job: Job, *rest: Any) -> Any:
        if job.key == "b":
            raise LookupError("a row that is gone")
        return good(unit, job, *rest)

    monkeypatch.setattr(handler, where, broken)
    jobs_.run_once()
    assert db_installation.value("SELECT count(*) FROM notify.jobs WHERE state = 'done'") == 2


@pytest.mark.parametrize("unwritable", ["\x00", "x" * 300], ids=["no text", "too long"])
def test_a_job_that_prepares_what_cannot_be_written_does_not_stop_its_neighbours(
    db_installation: Installation, runner: tuple[JobRunner, Scripted], unwritable: str
) -> None:
    jobs_, handler = runner
    leave(db_installation, *"abcdefg")
    usual = handler.prepare

    def prepare(unit: Unit, job: Job) -> Any:
        if job.key == "c":
            unit.session.add(Case(number=unwritable, sequence=0))
        return usual(unit, job)

    handler.prepare = prepare  # type: ignore[method-assign]
    while jobs_.run_once() or jobs_.more:
        continue

    assert ended(db_installation) == {key: ("due" if key == "c" else "done") for key in "abcdefg"}
    reason = db_installation.value("SELECT reason FROM notify.jobs WHERE key = 'c'")
    assert re.match(r"\w+Error", reason)


@dataclass
class Grouped:
    """A kind of job of which ten go into one call; a test says which of them cannot be finished."""

    together = 10
    calls: list[list[str]] = field(default_factory=list)
    loads: list[int] = field(default_factory=list)
    broken: frozenset[str] = frozenset()
    unwritable: frozenset[str] = frozenset()

    def prepare(self, unit: Unit, jobs: Sequence[Job]) -> Any:
        return [job.key for job in jobs]

    def call(self, prepared: Any) -> Any:
        self.calls.append(prepared)
        return {key: f"answer to {key}" for key in prepared}

    def load(self, unit: Unit, jobs: Sequence[Job], answer: Any) -> Any:
        self.loads.append(len(jobs))
        return answer

    def finish(self, unit: Unit, job: Job, loaded: Any) -> Verdict:
        if job.key in self.broken:
            raise LookupError("a row that is gone")
        if job.key in self.unwritable:
            unit.session.add(Case(number="x" * 300, sequence=0))
        return GiveUp(loaded[job.key])


@pytest.fixture
def grouped(db_installation: Installation) -> Iterator[tuple[JobRunner, Grouped]]:
    handler = Grouped()
    made = JobRunner(db_installation.context("notify"), {KIND: handler})
    yield made, handler
    made.close()


def ended(db_installation: Installation) -> dict[str, str]:
    return {row.key: row.state for row in db_installation.rows("SELECT key, state FROM notify.jobs")}


def test_many_jobs_go_into_one_call_and_end_in_one_transaction(
    db_installation: Installation, grouped: tuple[JobRunner, Grouped]
) -> None:
    jobs_, handler = grouped
    keys = [f"{n:02d}" for n in range(25)]
    leave(db_installation, *keys)

    found = [(jobs_.run_once(), jobs_.more) for _ in range(2)]
    assert found == [(20, True), (5, False)]

    assert sorted(key for call in handler.calls for key in call) == keys
    assert sorted(len(call) for call in handler.calls) == sorted(handler.loads) == [5, 10, 10]
    reasons = db_installation.rows("SELECT key, state, reason, attempts, epoch FROM notify.jobs ORDER BY key")
    assert reasons == [(key, "failed", f"answer to {key}", 1, 1) for key in keys]


@pytest.mark.parametrize("how", ["broken", "unwritable"])
def test_one_that_cannot_be_finished_is_halved_out_without_another_call(
    db_installation: Installation, grouped: tuple[JobRunner, Grouped], how: str
) -> None:
    jobs_, handler = grouped
    setattr(handler, how, frozenset({"c", "h"}))
    leave(db_installation, *"abcdefghij")

    assert jobs_.run_once() == 10

    assert len(handler.calls) == 1
    assert ended(db_installation) == {key: ("due" if key in "ch" else "failed") for key in "abcdefghij"}
    assert db_installation.value("SELECT min(attempts) FROM notify.jobs WHERE state = 'due'") == 1


def test_of_many_in_one_call_those_taken_over_meanwhile_are_left_out(
    db_installation: Installation, grouped: tuple[JobRunner, Grouped]
) -> None:
    jobs_, handler = grouped
    leave(db_installation, *"abc")
    usual = handler.call

    def overtaken(prepared: Any) -> Any:
        db_installation.change("UPDATE notify.jobs SET epoch = epoch + 1 WHERE key = 'b'")
        return usual(prepared)

    handler.call = overtaken  # type: ignore[method-assign]
    assert jobs_.run_once() == 3
    assert ended(db_installation) == {"a": "failed", "b": "claimed", "c": "failed"}


@dataclass
class SideBySide:
    """A kind of job of which some are called at once, each by itself; a test says which cannot be finished,
    and what a call does."""

    at_once: int = 10
    asked: list[list[str]] = field(default_factory=list)
    called: list[str] = field(default_factory=list)
    loads: list[list[str]] = field(default_factory=list)
    finished: list[tuple[str, Any]] = field(default_factory=list)
    broken: frozenset[str] = frozenset()
    unwritable: frozenset[str] = frozenset()
    during: Callable[[str], Any] = str.upper

    def prepare(self, unit: Unit, jobs: Sequence[Job]) -> list[str]:
        return [job.key for job in jobs]

    def ask(self, prepared: Sequence[str]) -> list[str]:
        self.asked.append(sorted(prepared))
        return [*prepared]

    def call(self, request: str) -> Any:
        self.called.append(request)
        return self.during(request)

    def load(self, unit: Unit, jobs: Sequence[Job]) -> str:
        self.loads.append([job.key for job in jobs])
        return "loaded"

    def finish(self, unit: Unit, job: Job, answer: Any, loaded: Any) -> Verdict:
        assert loaded == "loaded"
        if job.key in self.broken:
            raise LookupError("a row that is gone")
        if job.key in self.unwritable:
            unit.session.add(Case(number="x" * 300, sequence=0))
        self.finished.append((job.key, answer))
        return Done()


@pytest.fixture
def side_by_side(db_installation: Installation) -> Iterator[tuple[JobRunner, SideBySide]]:
    handler = SideBySide()
    made = JobRunner(db_installation.context("notify"), {KIND: handler})
    yield made, handler
    made.close()


def test_no_more_are_claimed_than_can_be_called_at_once(
    db_installation: Installation, side_by_side: tuple[JobRunner, SideBySide]
) -> None:
    jobs_, handler = side_by_side
    leave(db_installation, *"abcdefghijklm")
    claimed = "SELECT count(*) FROM notify.jobs WHERE state = 'claimed'"
    seen: set[int] = set()
    handler.during = lambda _: seen.add(db_installation.value(claimed))
    assert [(jobs_.run_once(), jobs_.more) for _ in range(2)] == [(10, True), (3, False)]
    assert max(seen) == 10
    assert handler.asked == [list("abcdefghij"), list("klm")]


@pytest.mark.parametrize("count", [2, 10])
def test_what_has_answered_is_written_in_one_transaction(
    db_installation: Installation, side_by_side: tuple[JobRunner, SideBySide], count: int
) -> None:
    jobs_, handler = side_by_side
    keys = sorted("abcdefghij"[:count])
    all_called = threading.Barrier(count)
    handler.during = lambda key: all_called.wait(30) and None
    leave(db_installation, *keys)
    passed: Counter[str] = Counter()
    faults.trace_points(lambda name: passed.update([name]))
    engine = db_installation.context("notify").engine
    try:
        with counted(engine) as statements:
            assert jobs_.run_once() == count
    finally:
        faults.trace_points(None)

    assert handler.asked == [keys]
    assert [key for some in handler.loads for key in some] == keys
    # Who answers last may do so a moment after the others are written, on a busy machine.
    assert passed[f"job.{KIND}.result.commit.after"] == len(handler.loads) <= 2
    assert passed["jobs.claim.commit.after"] == 1
    assert len(statements) <= 1 + 3 * len(handler.loads), statements


def test_a_slow_call_holds_up_no_other(
    db_installation: Installation, side_by_side: tuple[JobRunner, SideBySide]
) -> None:
    _, handler = side_by_side
    handler.at_once = 2
    jobs_ = JobRunner(db_installation.context("notify"), {KIND: handler})
    leave(db_installation, *"abcdef")
    others_done = threading.Event()
    done = "SELECT count(*) FROM notify.jobs WHERE state = 'done'"

    def during(key: str) -> None:
        if key == "a":
            assert others_done.wait(30)

    def look_again() -> bool:
        if db_installation.value(done) == 5:
            others_done.set()
        return jobs_.more

    handler.during = during
    assert jobs_.run_once(look_again) == 6
    jobs_.close()
    assert handler.finished[-1] == ("a", None)
    assert ended(db_installation) == dict.fromkeys("abcdef", "done")


def test_an_outage_while_calls_are_under_way_lets_go_of_none(
    db_installation: Installation, side_by_side: tuple[JobRunner, SideBySide]
) -> None:
    jobs_, handler = side_by_side
    leave(db_installation, *"abc")
    is_away, looked = threading.Event(), threading.Event()

    def during(key: str) -> str:
        if key == "a":
            send_away(db_installation)
            is_away.set()
        assert looked.wait(30)
        return key.upper()

    def look_again() -> bool:
        if is_away.is_set():
            looked.set()
        return is_away.is_set()

    handler.during = during
    try:
        with pytest.raises(DatabaseAway):
            jobs_.run_once(look_again)
    finally:
        let_back(db_installation)
    assert jobs_.run_once() == 0, "nothing is claimed anew"
    assert sorted(handler.called) == list("abc")
    assert sorted(handler.finished[-3:]) == [("a", "A"), ("b", "B"), ("c", "C")]
    found = db_installation.rows("SELECT DISTINCT state, epoch, attempts FROM notify.jobs")
    assert found == [("done", 1, 1)]


@pytest.mark.parametrize("how", ["broken", "unwritable"])
def test_of_many_called_side_by_side_those_that_cannot_be_finished_are_set_back(
    db_installation: Installation, side_by_side: tuple[JobRunner, SideBySide], how: str
) -> None:
    jobs_, handler = side_by_side
    setattr(handler, how, frozenset("ch"))
    leave(db_installation, *"abcdefghij")

    assert jobs_.run_once() == 10

    assert sorted(handler.called) == list("abcdefghij")
    assert ended(db_installation) == {key: ("due" if key in "ch" else "done") for key in "abcdefghij"}
    assert db_installation.value("SELECT min(attempts) FROM notify.jobs WHERE state = 'due'") == 1


def test_each_of_many_called_side_by_side_is_written_under_its_own_epoch(
    db_installation: Installation, side_by_side: tuple[JobRunner, SideBySide]
) -> None:
    jobs_, handler = side_by_side
    leave(db_installation, *"abc")
    taken_over = "UPDATE notify.jobs SET epoch = epoch + 1 WHERE key = 'b'"
    handler.during = lambda key: db_installation.change(taken_over) if key == "b" else None
    assert jobs_.run_once() == 3
    assert ended(db_installation) == {"a": "done", "b": "claimed", "c": "done"}
    assert {key for key, _ in handler.finished} == {"a", "c"}


def test_an_exception_of_a_question_is_the_answer_of_each_and_of_a_call_of_one(
    db_installation: Installation, side_by_side: tuple[JobRunner, SideBySide], monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs_, handler = side_by_side

    def fail(key: str) -> str:
        if key in "a":
            raise ConnectionResetError
        return "taken"

    handler.during = fail
    leave(db_installation, *"ab")
    jobs_.run_once()
    monkeypatch.setattr(handler, "ask", lambda prepared: fail("a"))
    leave(db_installation, *"cd")
    jobs_.run_once()
    assert {key: type(answer) for key, answer in handler.finished} == {
        "a": ConnectionResetError,
        "b": str,
        **dict.fromkeys("cd", ConnectionResetError),
    }


def test_what_was_nobodys_fault_is_not_counted(
    db_installation: Installation, runner: tuple[JobRunner, Scripted]
) -> None:
    jobs_, handler = runner
    leave(db_installation, "a")
    now = db_installation.value("SELECT clock_timestamp()")
    handler.verdicts = [Again(now, "away", counted=False), Again(now, "busy")]
    assert jobs_.run_once() == jobs_.run_once() == 1
    assert (row(db_installation).attempts, row(db_installation).epoch) == (1, 2)


def test_a_job_keeps_the_trace_of_the_fact_that_left_it(
    db_installation: Installation, runner: tuple[JobRunner, Scripted]
) -> None:
    jobs_, handler = runner
    cause = Cause(new_id(), new_id(), f"00-{'a' * 32}-{'b' * 16}-01")
    with unit_of(db_installation.context("notify"), "test.leave") as unit:
        unit.cause = cause
        unit.later(KIND, "a", {"n": 1})
    found: list[Cause | None] = []

    def finish(unit: Unit, job: Job, answer: Any) -> Verdict:
        found.append(unit.cause)
        return Done()

    handler.finish = finish  # type: ignore[method-assign]
    assert jobs_.run_once() == 1
    assert found == [replace(cause, what=f"/{KIND}/a")]
