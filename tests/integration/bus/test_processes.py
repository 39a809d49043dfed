"""Real worker processes: they die, are told to stop, and share the work of one service."""

from functools import partial
from uuid import UUID

import pika
import pytest

from shared.bus.inbox import MAX_DEATHS
from shared.bus.topology import queue_name, read_queues
from tests.integration.bus.history import History, Stage, Stored, kind, make_stage, post
from tests.support.installation import Installation, Worker, wait_for
from tests.support.messages import facts_in

CASES = 60
BATCH = 20
WORKERS = 3


@pytest.fixture
def stage(installation: Installation, history: History) -> Stage:
    """Notify, without any channel to the outside."""
    stage = make_stage(installation, "notify", history)
    installation.set_up_channels()
    return stage


def make_cases(stage: Stage, count: int) -> dict[str, list[Stored]]:
    return dict(stage.new_case() for _ in range(count))


def woven(cases: dict[str, list[Stored]]) -> list[Stored]:
    """All first facts, then all second ones: neighbours in a queue are of different cases."""
    return [fact for places in zip(*cases.values(), strict=True) for fact in places]


def done(stage: Stage) -> int:
    return stage.installation.handled("notify")


def handled(stage: Stage, facts: list[Stored]) -> bool:
    return stage.installation.has_handled("notify", *(UUID(fact["id"]) for fact in facts))


def finish(stage: Stage, facts: list[Stored]) -> None:
    """Wait until everything is handled, and all that was said handed on."""
    made = stage.installation
    wait_for(lambda: handled(stage, facts), f"all of {len(facts)} facts handled", 120, of=made)
    unsent = "SELECT count(*) FROM notify.outbox WHERE sent_at IS NULL"
    wait_for(lambda: made.value(unsent) == 0, "all that was said handed on", of=made)


def failures(stage: Stage) -> list[str]:
    """What the workers wrote about commands that failed."""
    return [line for worker in stage.installation.workers for line in worker.lines("event_failed")]


def delivered_again(stage: Stage) -> list[str]:
    """What the workers wrote about facts whose holder had died."""
    return [line for worker in stage.installation.workers for line in worker.lines("delivered_again")]


def _has_started(worker: Worker) -> bool:
    return "worker_started" in worker.output()


def stop_all(workers: list[Worker]) -> None:
    for worker in workers:
        if worker.process.poll() is None:
            wait_for(partial(_has_started, worker), "its start")
            assert worker.terminate() == 0, worker.output()[-3000:]


def check_told_in_order(stage: Stage, cases: dict[str, list[Stored]]) -> None:
    """What notify said came to intake in order within each case, and once."""
    heard = [place for place in _heard_by_intake(stage.installation) if place[0] in cases]
    seen: dict[str, int] = {}
    for number, sequence in heard:
        assert sequence in (seen.get(number, 0), seen.get(number, 0) + 1), (
            f"{number}: {sequence} out of order"
        )
        seen[number] = max(sequence, seen.get(number, 0))
    assert set(seen) == set(cases)


def _heard_by_intake(installation: Installation) -> list[tuple[str, int]]:
    url = installation.broker_url
    if url is None:
        messages = installation.rows("SELECT facts FROM intake.messages ORDER BY id")
        facts = [fact for message in messages for fact in message.facts]
        return [(fact["subject"], int(fact["sequence"])) for fact in facts]
    found: list[tuple[str, int]] = []
    connection = pika.BlockingConnection(pika.URLParameters(url))
    try:
        channel = connection.channel()
        while True:
            method, properties, body = channel.basic_get(queue_name("intake"), auto_ack=True)
            if method is None:
                return found
            facts = facts_in(properties.headers, properties.content_type, body)
            found += [(fact["subject"], int(fact["sequence"])) for fact in facts]
    finally:
        connection.close()


def check_all(stage: Stage, cases: dict[str, list[Stored]], expected: list[str]) -> None:
    """Every case ended as it does when it is alone; nobody was blamed; nothing is left anywhere."""
    for number in cases:
        assert stage.outcome(number) == expected, number
    assert not failures(stage)
    assert stage.installation.unfinished("notify") == 0
    deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    assert stage.installation.value(deadlocks) == 0
    url = stage.installation.broker_url
    if url is not None:
        [queue, park] = read_queues(url, ["notify"])
        assert (queue.messages, park.messages) == (0, 0)


def test_three_workers_of_one_service(stage: Stage, expected: list[str]) -> None:
    cases = make_cases(stage, CASES)
    facts = woven(cases)
    post(stage.installation, "notify", facts, together=True)
    workers = [stage.installation.worker("notify", batch=BATCH) for _ in range(WORKERS)]
    finish(stage, facts)
    stop_all(workers)

    check_all(stage, cases, expected)
    check_told_in_order(stage, cases)
    assert not delivered_again(stage)


def test_sigterm_to_one_of_three_causes_no_redelivery(stage: Stage, expected: list[str]) -> None:
    cases = make_cases(stage, CASES)
    facts = woven(cases)
    before = done(stage)
    post(stage.installation, "notify", facts, together=True)
    # The first one alone handles the first batch, so that it is at work when it is told.
    workers = [stage.installation.worker("notify", batch=BATCH)]
    wait_for(lambda: done(stage) > before, "the first batch")
    workers += [stage.installation.worker("notify", batch=BATCH) for _ in range(WORKERS - 1)]

    assert workers[0].terminate() == 0, workers[0].output()[-3000:]
    finish(stage, facts)
    stop_all(workers)

    assert not delivered_again(stage)
    assert [worker.output()[-1500:] for worker in workers if "Traceback" in worker.output()] == []
    check_all(stage, cases, expected)
    check_told_in_order(stage, cases)


def test_the_death_of_one_of_three_loses_nothing(stage: Stage, expected: list[str]) -> None:
    cases = make_cases(stage, CASES)
    facts = woven(cases)
    before = done(stage)
    post(stage.installation, "notify", facts, together=True)
    # The first one alone handles the first batch, so that it is at work when it is told.
    workers = [stage.installation.worker("notify", batch=BATCH)]
    wait_for(lambda: done(stage) > before, "the first batch")
    workers += [stage.installation.worker("notify", batch=BATCH) for _ in range(WORKERS - 1)]

    workers[0].kill()
    # Only its own claims: those of the living last less long than what makes this true.

    def only_claims_are_left() -> bool:
        # Retries and not-yets are over at once; what is claimed keeps its time.
        stage.installation.make_due("notify", ["retry", "not_yet"])
        return handled(stage, facts) or _only_leases_left(stage)

    wait_for(only_claims_are_left, "all but the dead one's claims", 90, of=stage.installation)
    stage.installation.make_due("notify")
    finish(stage, facts)
    stop_all(workers)

    check_all(stage, cases, expected)
    check_told_in_order(stage, cases)


def _only_leases_left(stage: Stage) -> bool:
    left = "due_at - clock_timestamp() < interval '6 s'"
    held = f"SELECT bool_and({left}) FROM notify.messages WHERE holder IS NOT NULL"
    return bool(stage.installation.value(held))


@pytest.mark.parametrize(
    "point",
    [
        "inbox.batch.commit.before",
        "inbox.batch.commit.after",
        "outbox.sent.commit.before",
        "outbox.sent.commit.after",
    ],
)
def test_a_death_at_the_worst_moment_repeats_and_nothing_happens_twice(
    stage: Stage, expected: list[str], point: str
) -> None:
    cases = make_cases(stage, 5)
    facts = woven(cases)
    post(stage.installation, "notify", facts, together=True)
    dying = stage.installation.worker("notify", faults=f"{point}:1:kill")
    wait_for(lambda: dying.process.poll() is not None, "its death")
    stage.installation.make_due("notify")

    heir = stage.installation.worker("notify")
    finish(stage, facts)
    stop_all([heir])

    check_all(stage, cases, expected)
    check_told_in_order(stage, cases)


def test_a_fact_that_kills_its_process_is_parked_at_the_third_death(
    stage: Stage, expected: list[str]
) -> None:
    cases = make_cases(stage, 6)
    facts = woven(cases)
    poisoned = list(cases)[2]
    poison = next(fact for fact in cases[poisoned] if kind(fact) == "case-accepted")
    post(stage.installation, "notify", facts, together=True)
    parked = "SELECT id, deaths, reason FROM notify.inbox WHERE state = 'parked'"
    open_ = "SELECT count(*) FROM notify.inbox WHERE state IN ('claimed', 'suspected', 'retry', 'not_yet')"

    def dead_or_settled(worker: Worker) -> bool:
        if worker.process.poll() is not None:
            return True
        return bool(stage.installation.rows(parked)) and stage.installation.value(open_) == 0

    deaths = 0
    while True:
        worker = stage.installation.worker("notify", poison=poison["id"])
        settled = f"{deaths} deaths so far, and this one neither dies nor finishes"
        wait_for(partial(dead_or_settled, worker), settled, 90, of=stage.installation)
        if worker.process.poll() is None:
            break
        deaths += 1
        assert deaths <= MAX_DEATHS
        stage.installation.make_due("notify")
    stop_all([worker])

    assert deaths == MAX_DEATHS
    [row] = stage.installation.rows(parked)
    assert (row.id, row.deaths) == (UUID(poison["id"]), MAX_DEATHS)
    neighbours = [number for number in cases if number != poisoned]
    assert [number for number in neighbours if stage.outcome(number) != expected] == []
    assert not failures(stage)
