"""What does not go on by itself is in one list: with what it waits for, since when, and a way out."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from deploy.services import SERVICES
from deploy.trouble import kinds, list_all, tally_all
from services.approval import gauges
from services.approval.commands import StepResult
from services.notify.trouble import SOURCES as DELIVERIES
from shared import metrics
from shared.bus.context import ServiceContext
from shared.bus.jobs import GiveUp, JobRunner
from shared.bus.measuring import measure
from shared.bus.trouble import TOO_LONG, TroubleNotFound
from shared.bus.trouble_sources import SOURCES
from shared.bus.unit import unit_of
from tests.integration.bus.history import Stage, of_kind, open_line
from tests.integration.bus.test_jobs import KIND, Scripted, leave
from tests.support.installation import Installation, settle
from tests.support.trouble import drop, retry, show, trouble_of

LONG = TOO_LONG + timedelta(minutes=1)


def age(installation: Installation, service: str) -> None:
    """Let everything that lies there have lain for too long."""
    for table, moment in (("inbox", "received_at"), ("jobs", "due_at"), ("jobs", "finished_at")):
        installation.change(f"UPDATE {service}.{table} SET {moment} = {moment} - :long", long=LONG)


def take(stage: Stage, facts: list[dict[str, Any]]) -> None:
    with open_line(stage.installation, "notify", stage.installation.inbox("notify")) as line:
        line.send(facts)
        line.take()
        settle(stage.installation, "notify", stage.installation.inbox("notify"))


@pytest.mark.parametrize("delivery", ["database"], indirect=True)
def test_a_fact_whose_predecessor_is_missing_says_so(stage: Stage) -> None:
    number, facts = stage.new_case()
    approval = [fact for fact in facts if fact["source"] == "/onestop/approval"]
    missing, behind = approval[1], approval[2:]
    take(stage, [fact for fact in facts if fact is not missing])
    context = stage.installation.context("notify")
    assert trouble_of(context) == []

    age(stage.installation, "notify")
    found = trouble_of(context, "waiting")

    assert {trouble.id for trouble in found} == {f"notify.fact.{fact['id']}" for fact in behind}
    assert {(t.kind, t.case, t.waits_for) for t in found} == {("waiting", number, "approval 2: not here")}
    assert [t.behind for t in sorted(found, key=lambda t: t.behind)] == list(range(len(behind)))

    missing["type"] = "onestop.approval.of-the-future.v1"
    take(stage, [missing])
    assert {t.waits_for for t in trouble_of(context, "waiting")} == {"approval 2: unreadable"}
    drop(context, f"notify.fact.{missing['id']}")
    settle(stage.installation, "notify", stage.installation.inbox("notify"))
    assert trouble_of(context, "waiting", "unreadable") == []
    assert stage.installation.unfinished("notify") == 0


@pytest.mark.parametrize("delivery", ["database"], indirect=True)
def test_a_fact_of_a_case_that_does_not_exist_waits_ever_longer_and_can_be_dropped(stage: Stage) -> None:
    number, facts = stage.new_case()
    alone = of_kind(facts, "correction-required")
    take(stage, [alone])
    context = stage.installation.context("notify")
    [row] = stage.installation.rows("SELECT *, due_at - clock_timestamp() AS pause FROM notify.inbox")
    assert (row.state, row.case_no) == ("not_yet", number)
    assert timedelta(minutes=4) < row.pause <= timedelta(minutes=5)

    age(stage.installation, "notify")
    [trouble] = trouble_of(context)
    assert trouble.waits_for == "onestop.intake.case-submitted.v1 must come first"
    assert show(context, trouble.id)["event"] == alone
    drop(context, trouble.id)
    assert trouble_of(context) == []
    assert stage.installation.value("SELECT count(*) FROM notify.inbox") == 0
    with pytest.raises(TroubleNotFound):
        drop(context, trouble.id)


@pytest.mark.parametrize("delivery", ["database"], indirect=True)
def test_a_fact_that_waits_can_be_tried_at_once(stage: Stage, expected: list[str]) -> None:
    number, facts = stage.new_case()
    submitted = of_kind(facts, "case-submitted")
    take(stage, [fact for fact in facts if fact is not submitted])
    age(stage.installation, "notify")
    context = stage.installation.context("notify")
    early = next(t for t in trouble_of(context) if "must come first" in (t.waits_for or ""))
    retry(context, early.id)
    assert stage.installation.value("SELECT count(*) FROM notify.inbox WHERE state = 'retry'") == 1
    take(stage, [submitted])
    assert stage.outcome(number) == expected


@pytest.fixture
def runner(db_installation: Installation) -> Iterator[tuple[JobRunner, Scripted]]:
    handler = Scripted()
    made = JobRunner(db_installation.context("notify"), {KIND: handler})
    yield made, handler
    made.close()


def test_a_job_that_failed_is_tried_again_or_dropped(
    db_installation: Installation, runner: tuple[JobRunner, Scripted]
) -> None:
    jobs, handler = runner
    context = db_installation.context("notify")
    leave(db_installation, "a", "b")
    handler.verdicts = [GiveUp("no-luck"), GiveUp("no-luck")]
    jobs.run_once()
    first, second = trouble_of(context)
    assert (first.kind, first.about, first.reason) == ("failed_job", KIND, "no-luck")
    assert show(context, first.id)["payload"] == {"n": 0}

    retry(context, first.id)
    drop(context, second.id)

    assert jobs.run_once() == 1
    assert db_installation.rows("SELECT key, state FROM notify.jobs ORDER BY key") == [
        ("a", "done"),
        ("b", "dropped"),
    ]
    assert trouble_of(context) == []
    acts = db_installation.rows("SELECT act, actor FROM notify.trouble_acts ORDER BY id")
    assert acts == [("retried", "operator"), ("dropped", "operator")]


def test_a_job_that_nobody_runs_is_seen(
    db_installation: Installation, runner: tuple[JobRunner, Scripted]
) -> None:
    leave(db_installation, "a")
    context = db_installation.context("notify")
    assert trouble_of(context) == []
    age(db_installation, "notify")
    [late] = trouble_of(context)
    assert (late.kind, late.about) == ("late_job", KIND)
    runner[0].run_once()
    assert trouble_of(context) == []


MANY = """
INSERT INTO {s}.inbox (id, speaker, case_no, sequence, type, state, event, received_at)
SELECT md5('{s}' || n)::uuid, 'intake', 'case-' || n, 1, 'onestop.intake.case-submitted.v1',
    (ARRAY['parked', 'unreadable', 'waiting', 'not_yet'])[1 + n % 4], '{{}}',
    timestamptz '2026-11-01' + n / 7 * interval '1 minute' FROM generate_series(1, 60) AS n;
INSERT INTO {s}.jobs (kind, key, payload, state, due_at, created_at, finished_at)
SELECT 'test', n::text, '{{}}', CASE n % 2 WHEN 0 THEN 'failed' ELSE 'due' END, at, at, at
FROM (SELECT n, timestamptz '2026-11-01' + n / 5 * interval '1 minute' AS at
      FROM generate_series(1, 30) AS n) AS t;
INSERT INTO {s}.undecodable (sha256, sealed, size, reason, state, times, received_at)
SELECT encode(sha256(n::text::bytea), 'hex'), '', 0, 'no fact',
    CASE n % 3 WHEN 0 THEN 'dropped' ELSE 'parked' END, 1,
    timestamptz '2026-11-01' + n / 3 * interval '1 minute' FROM generate_series(1, 30) AS n
"""


def test_the_list_of_all_services_comes_page_by_page_the_oldest_first(
    db_installation: Installation,
) -> None:
    for service in ("intake", "approval"):
        db_installation.change(MANY.format(s=service))
    contexts = [db_installation.context(service) for service in SERVICES]
    everything = kinds(SERVICES)
    for limit in (7, 50, 100):
        found, cursor = [], None
        while True:
            page = list_all(contexts, everything, cursor=cursor, limit=limit)
            assert len(page.lines) <= limit
            found += page.lines
            cursor = page.next
            if cursor is None:
                break
        assert len(found) == len({trouble.id for trouble in found}) == 2 * (60 + 30 + 20)
        assert [t.since for t in found] == sorted(t.since for t in found)
    tallies = tally_all(contexts)
    assert tallies["intake", "waiting"].count == 30
    assert tallies["intake", "undecodable"].count == 20
    assert tallies["approval", "failed_job"].oldest == datetime(2026, 11, 1, tzinfo=UTC)
    assert ("notify", "parked") not in tallies
    only = list_all(contexts, ["late_job"], cursor=None, limit=100).lines
    assert {trouble.kind for trouble in only} == {"late_job"}


NOTHING = (
    "",
    "nonsense",
    "notify",
    "notify.fact",
    "notify.fact.",
    "notify.fact.x",
    f"notify.fact.{uuid4()}",
    "kitchen.fact.1",
    "notify.job.x",
    "notify.job.999",
    f"notify.job.{2**64}",
    "notify.job.1.2",
    "notify.message.x",
    "notify.delivery.1",
    f"notify.delivery.{uuid4()}",
)


@pytest.mark.parametrize("act", [show, retry, drop])
def test_ids_of_nothing(db_installation: Installation, act: Callable[[ServiceContext, str], object]) -> None:
    for trouble_id in NOTHING:
        with pytest.raises(TroubleNotFound):
            act(db_installation.context("notify"), trouble_id)


def gauge(metric: Any, *labels: str) -> float:
    found: float = metric.labels(*labels)._value.get()
    return found


def test_gauges_tell_how_much_there_is_and_since_when(db_installation: Installation) -> None:
    db_installation.change(MANY.format(s="notify"))
    db_installation.change("UPDATE notify.inbox SET received_at = clock_timestamp() - interval '1 hour'")
    context = db_installation.context("notify")
    measure(context, (*SOURCES, *DELIVERIES), ())
    assert gauge(metrics.TROUBLE, "notify", "parked") == 15
    assert gauge(metrics.TROUBLE, "notify", "delivery_in_doubt") == 0
    assert 3600 <= gauge(metrics.TROUBLE_OLDEST_SECONDS, "notify", "parked") < 3700
    db_installation.change("DELETE FROM notify.inbox")
    measure(context, (*SOURCES, *DELIVERIES), ())
    assert gauge(metrics.TROUBLE, "notify", "parked") == 0
    assert gauge(metrics.TROUBLE_OLDEST_SECONDS, "notify", "parked") == 0


def test_gauges_of_what_went_missing_follow_the_table(db_installation: Installation) -> None:
    context = db_installation.context("notify")
    for missing in (5, 0):
        db_installation.change(
            "INSERT INTO notify.comparisons (speaker, compared_to, checked_at, missing) VALUES "
            "('intake', clock_timestamp(), clock_timestamp(), :n) "
            "ON CONFLICT (speaker) DO UPDATE SET missing = :n",
            n=missing,
        )
        measure(context, SOURCES, ())
        assert gauge(metrics.FACTS_MISSING, "notify", "intake") == missing
    assert gauge(metrics.FACTS_NEVER_SAID, "notify", "intake") == 0


def test_how_long_nobody_could_compare_is_measured(db_installation: Installation) -> None:
    context = db_installation.context("notify")
    for minutes in (30, 0):
        db_installation.change(
            "INSERT INTO notify.comparisons (speaker, compared_to, checked_at) "
            "SELECT 'intake', clock_timestamp() - make_interval(mins => :m), clock_timestamp() "
            "ON CONFLICT (speaker) DO UPDATE SET compared_to = EXCLUDED.compared_to",
            m=minutes,
        )
        measure(context, SOURCES, ())
        age_s = gauge(metrics.FACTS_NOT_COMPARED_SECONDS, "notify", "intake")
        assert minutes * 60 <= age_s < minutes * 60 + 60


def test_gauges_of_queues_count_what_is_open_and_late(db_installation: Installation) -> None:
    number = db_installation.submit(db_installation.citizen()).number
    measure(db_installation.context("intake"), SOURCES, ())
    assert gauge(metrics.OUTBOX_PENDING, "intake") == 1
    db_installation.pump()
    approval = db_installation.context("approval")
    measure(approval, SOURCES, gauges.MEASURES)
    first = db_installation.value("SELECT department FROM approval.tasks")
    assert (gauge(metrics.TASKS_OPEN, first), gauge(metrics.TASKS_OVERDUE, first)) == (1, 0)
    db_installation.change("UPDATE approval.tasks SET due_at = clock_timestamp() - interval '1 day'")
    measure(approval, SOURCES, gauges.MEASURES)
    assert (gauge(metrics.TASKS_OPEN, first), gauge(metrics.TASKS_OVERDUE, first)) == (1, 1)
    db_installation.decide(number)
    measure(approval, SOURCES, gauges.MEASURES)
    assert (gauge(metrics.TASKS_OPEN, first), gauge(metrics.TASKS_OVERDUE, first)) == (0, 0)


def counts() -> dict[str, float]:
    """Cases that reached each state, by this process."""
    return {
        state: metrics.CASES.labels("residence_permit.apply", state)._value.get()
        for state in ("submitted", "accepted", "under_review", "denied", "closed")
    }


@pytest.mark.parametrize("delivery", ["database"], indirect=True)
def test_counters_count_what_was_committed(installation: Installation) -> None:
    before = counts()
    number = installation.submit(installation.citizen()).number
    installation.pump()
    during = counts()
    assert {state: during[state] - before[state] for state in during} == {
        "submitted": 1,
        "accepted": 1,
        "under_review": 1,
        "denied": 0,
        "closed": 0,
    }
    with pytest.raises(RuntimeError):
        count_in_vain(installation)
    assert counts() == during
    installation.decide(number, StepResult.DENIED)
    assert {state: counts()[state] - during[state] for state in ("denied", "closed")} == {
        "denied": 1,
        "closed": 1,
    }


def count_in_vain(installation: Installation) -> None:
    with unit_of(installation.context("approval"), "test.undone") as unit:
        unit.after_commit(metrics.CASES.labels("residence_permit.apply", "closed").inc)
        raise RuntimeError
