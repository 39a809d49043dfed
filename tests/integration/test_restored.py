"""A database that was brought back from an older copy: nobody gets a number that somebody has, what is lost
is named before anything is done, and nobody is told twice."""

import json
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from starlette.testclient import TestClient

from deploy.commands.app import run
from deploy.restored import NothingLostOfCase, Restored, restored, settle
from deploy.services import SERVICES
from deploy.web import build
from services.approval import commands, queries
from services.notify.rules.delivery import RESTORED
from shared.bus.host import Deliveries
from shared.bus.lost import ActsLost
from shared.bus.unit import unit_of
from shared.bus.witness import BLOCK, FileWitness, NotAsWitnessed, WitnessMissing
from tests.support.copies import SchemaCopy, bring_back, take_copy
from tests.support.giving import give_commands_to
from tests.support.hall import Hall, application, problem
from tests.support.installation import (
    Installation,
    db_installation,
    secrets_dir,
    template_settings,
    wait_for,
)
from tests.support.installation import settle as work_off
from tests.support.principals import officer
from tests.support.restoring import alarms, compare, let_them_ask, parked
from tests.support.system import start_system

__all__ = ["db_installation", "secrets_dir", "template_settings"]

TIMELINE = "SELECT case_no, service, fact FROM intake.timeline ORDER BY case_no, at, service, sequence"


@pytest.fixture
def made(db_installation: Installation) -> Installation:
    """One that has begun."""
    db_installation.keep_witnesses()
    start(db_installation)
    db_installation.change("UPDATE onestop.subscriptions SET since = since - interval '1 day'")
    return db_installation


@pytest.fixture
def hall(made: Installation) -> Iterator[Hall]:
    apps = build(made.settings.model_copy(update={"dev_identity": True}), SERVICES)
    with TestClient(apps.public, "https://hall.test", raise_server_exceptions=False) as client:
        yield Hall(made, client, TestClient(apps.internal, raise_server_exceptions=False))


def start(made: Installation) -> None:
    """All processes anew: nothing of what they knew is left."""
    made.keep_witnesses()
    let_them_ask(made)
    for service in SERVICES:
        guard = made.context(service).guard
        assert guard is not None
        guard.look()


def a_second_passes(made: Installation) -> None:
    """Every process looks."""
    for service in SERVICES:
        made.change(f"UPDATE {service}.witness SET marked_at = marked_at - interval '2 s'")
        guard = made.context(service).guard
        assert guard is not None
        guard.look()


def copies_of(made: Installation, *services: str) -> list[SchemaCopy]:
    a_second_passes(made)
    return [take_copy(made.admin, service) for service in services]


def lose(made: Installation, copies: Sequence[SchemaCopy]) -> None:
    """Bring the copies back while nothing runs."""
    a_second_passes(made)
    for copy in copies:
        bring_back(made.admin, copy)
    start(made)


def is_ready(made: Installation, service: str) -> bool:
    try:
        made.context(service).ready()
    except NotAsWitnessed:
        return False
    return True


def mend(made: Installation, service: str) -> Restored:
    assert not is_ready(made, service)
    found = restored(made.settings, service)
    a_second_passes(made)
    assert is_ready(made, service)
    return found


def minutes_pass(made: Installation) -> None:
    """As often as it takes: what is said again leads to what is said again."""
    for _ in range(3):
        compare(made)
        made.pump()


def serial(number: str) -> int:
    return int(number[12:18])


def heard(made: Installation, number: str) -> dict[str, Any]:
    """What each service heard about a case, to the byte."""
    return {
        service: made.rows(f"SELECT heard FROM {service}.gates WHERE case_no = :n", n=number)
        for service in SERVICES
    }


def test_a_stranger_does_not_get_the_number_of_a_case_that_was_lost(made: Installation) -> None:
    kept = made.submit(made.citizen()).number
    copies = copies_of(made, "intake")
    lost = [made.submit(made.citizen()).number for _ in range(3)]
    made.pump()
    lose(made, copies)

    with pytest.raises(NotAsWitnessed):
        made.submit(made.citizen())
    found = mend(made, "intake")
    new = [made.submit(made.citizen()).number for _ in range(3)]

    assert found.cases == sorted(lost)
    assert [(fact.case, fact.fact) for fact in found.facts] == [(n, "case-submitted") for n in sorted(lost)]
    first, last = found.serials["case_serial"]
    assert serial(kept) < first <= min(map(serial, lost))
    assert max(map(serial, lost)) <= last < min(map(serial, new))
    made.pump()
    for number in new:
        made.decide(number)
    made.pump()
    assert made.value("SELECT count(*) FROM intake.cases WHERE outcome = 'approved'") == len(new)
    assert parked(made) == []


def test_a_whole_installation_that_was_brought_back_has_its_witness_only(made: Installation) -> None:
    made.submit(made.citizen())
    copies = copies_of(made, *SERVICES)
    lost = [made.submit(made.citizen()).number for _ in range(2)]
    made.pump()
    lose(made, copies)
    assert [is_ready(made, service) for service in SERVICES] == [False] * len(SERVICES)

    found = {service: mend(made, service) for service in SERVICES}

    assert all(one.cases == [] for one in found.values()), "nobody is left who has heard of them"
    first, last = found["intake"].serials["case_serial"]
    assert first <= min(map(serial, lost)) <= max(map(serial, lost)) <= last
    new = made.submit(made.citizen()).number
    assert serial(new) > last
    made.pump()
    made.decide(new)
    made.pump()
    assert made.has_heard_all(new)


def test_meanwhile_the_doors_say_503_and_readyz_says_why(hall: Hall) -> None:
    made = hall.installation
    who, headers = hall.citizen()
    assert hall.apply(headers, application(who)).status_code == 201
    copies = copies_of(made, "intake")
    assert hall.apply(headers, application(who)).status_code == 201
    a_second_passes(made)
    guard = hall.client.app.state.contexts["intake"].guard  # type: ignore[attr-defined]
    guard.look()
    bring_back(made.admin, copies[0])

    # Nobody has looked since: the statement that takes the serial tells all the same.
    taken = hall.apply(headers, application(who))
    assert problem(taken) == (503, "database.restored")
    assert int(taken.headers["Retry-After"]) > 0
    assert problem(hall.client.get("/api/v1/cases", headers=headers)) == (503, "database.restored")
    ready = hall.internal.get("/readyz")
    assert ready.status_code == 503
    components = ready.json()["components"]
    assert components["intake.witness"] == {"ok": False, "error": "database.restored"}
    assert components["notify.witness"]["ok"] is True

    restored(made.settings, "intake")
    guard.look()
    assert hall.apply(headers, application(who)).status_code == 201
    assert hall.internal.get("/readyz").status_code == 200


def test_a_worker_handles_and_hands_on_nothing_meanwhile(made: Installation) -> None:
    number = made.submit(made.citizen()).number
    for speaker, subscriber in (("intake", "materials"), ("materials", "approval")):
        made.relay(speaker).run_once()
        work_off(made, subscriber, made.inbox(subscriber))
    copies = copies_of(made, "approval")
    claim(made, number)
    made.pump()
    lose(made, copies)
    made.submit(made.citizen())
    made.relay("intake").run_once()
    lying = "SELECT count(*) FROM approval.messages"
    unsent = "SELECT count(*) FROM approval.outbox WHERE sent_at IS NULL"
    before = (made.value(lying), made.value(unsent))
    assert min(before) > 0
    with pytest.raises(NotAsWitnessed):
        made.inbox("approval").run_batch(100)
    look_once(made, "approval")
    assert (made.value(lying), made.value(unsent)) == before
    assert made.value(f"{lying} WHERE holder IS NOT NULL") == 0

    mend(made, "approval")
    look_once(made, "approval")
    assert made.value(unsent) == 0, "the loop would have handed it on"


def look_once(made: Installation, service: str) -> None:
    """A worker's relay looks once whether there is something to hand on."""
    host = Deliveries()
    host.context, host.relay, host.stopping = made.context(service), made.relay(service), threading.Event()

    class OneLook(threading.Event):
        def clear(self) -> None:
            """Before the look: there is no other one, and nothing to wait for after it."""
            host.stopping.set()
            self.set()

    host._loop("relay", OneLook(), host._relay)


@pytest.mark.parametrize("victim", ["materials", "approval", "notify"])
def test_what_a_service_did_because_of_facts_it_does_and_says_again(made: Installation, victim: str) -> None:
    number = made.submit(made.citizen()).number
    copies = copies_of(made, victim)
    made.pump()
    later = made.submit(made.citizen()).number
    made.pump()
    before = {case: heard(made, case) for case in (number, later)}
    timeline = made.rows(TIMELINE)
    lose(made, copies)

    found = mend(made, victim)
    assert {fact.case for fact in found.facts} == {number, later}
    assert None not in {fact.fact for fact in found.facts}
    minutes_pass(made)

    assert {case: heard(made, case) for case in (number, later)} == before
    assert made.rows(TIMELINE) == timeline
    assert all(fact.settled for fact in restored(made.settings, victim).facts)
    assert (parked(made), alarms(made)) == ([], {})
    for case in (number, later):
        made.decide(case)
    made.pump()
    assert made.has_heard_all(later)
    assert made.value("SELECT count(*) FROM intake.cases WHERE outcome = 'approved'") == 2
    told = made.rows("SELECT case_no, title FROM notify.inbox_messages GROUP BY 1, 2 HAVING count(*) > 1")
    assert told == []


def test_an_act_that_nobody_was_told_of_is_done_anew_under_a_new_number(made: Installation) -> None:
    number = made.submit(made.citizen()).number
    made.pump()
    copies = copies_of(made, "approval")
    claim(made, number)
    made.pump()
    lose(made, copies)

    found = mend(made, "approval")
    assert [(fact.case, fact.fact) for fact in found.facts] == [(number, "task-claimed")]
    made.decide(number)
    made.pump()

    assert parked(made) == []
    assert made.value("SELECT state FROM intake.cases") == "approved"
    minutes_pass(made)
    assert alarms(made) == {}


def test_a_decision_that_was_lost_is_not_taken_again_before_somebody_has_looked(made: Installation) -> None:
    number = made.submit(made.citizen()).number
    made.pump()
    copies = copies_of(made, "approval")
    made.decide(number)
    made.pump()
    lose(made, copies)

    found = mend(made, "approval")
    names = [fact.fact for fact in found.facts]
    assert names[:3] == ["task-claimed", "step-passed", "case-routed"]
    assert "case-decided" in names
    with pytest.raises(ActsLost) as refused:
        made.decide(number)
    assert [fact.sequence for fact in found.facts] == list(range(3, 3 + len(names))), "numbered as it was"
    lost = [f"{fact.sequence} {fact.fact}" for fact in found.facts if fact.fact != "task-claimed"]
    assert refused.value.members["lost"] == lost
    assert made.value("SELECT count(*) FROM materials.certificates WHERE case_no = :n", n=number) == 1

    with pytest.raises(NothingLostOfCase):
        settle(made.settings, "approval", "330106261123000001X")
    assert settle(made.settings, "approval", number) == len(names)
    a_second_passes(made)
    claim(made, number)
    made.pump()
    assert parked(made) == []


def test_a_notice_that_may_have_been_sent_is_asked_for_first(made: Installation) -> None:
    made.set_up_channels("sms")
    open_one = made.submit(made.citizen()).number
    made.pump()
    copies = copies_of(made, "notify")
    heard_since = made.submit(made.citizen()).number
    made.pump()
    lose(made, copies)
    made.set_up_channels("sms")

    found = mend(made, "notify")
    assert found.done == {"deliveries": 2}
    minutes_pass(made)
    late = made.submit(made.citizen()).number
    made.pump()

    deliveries = made.rows(
        "SELECT case_no, state, reason, doubted_until IS NOT NULL AS doubted FROM notify.deliveries "
        "WHERE channel = 'sms'"
    )
    assert {tuple(row) for row in deliveries} == {
        (open_one, "in_doubt", RESTORED, True),
        (heard_since, "in_doubt", RESTORED, True),
        (late, "planned", None, False),
    }


def test_without_its_witness_a_database_that_was_used_is_not_trusted(made: Installation) -> None:
    used = made.submit(made.citizen()).number
    made.pump()
    witness = FileWitness(made.settings.witness_dir / "intake")  # type: ignore[operator]
    witness.path.unlink()
    start(made)

    with pytest.raises(WitnessMissing):
        made.submit(made.citizen())
    assert not witness.path.exists()
    found = mend(made, "intake")
    assert (found.cases, found.facts) == ([], [])
    assert serial(made.submit(made.citizen()).number) > serial(used)


def test_a_clock_that_was_fast_hides_no_copy(made: Installation) -> None:
    made.change("UPDATE intake.witness SET marked_at = clock_timestamp() + interval '1 hour'")
    copy = take_copy(made.admin, "intake")
    made.submit(made.citizen())
    guard = made.context("intake").guard
    assert guard is not None
    guard.look()
    bring_back(made.admin, copy)
    start(made)
    assert not is_ready(made, "intake")


@pytest.mark.slow
def test_what_a_process_did_last_before_it_ended_in_order_is_marked(made: Installation) -> None:
    """No mark ever becomes old enough to be renewed in passing."""
    system = start_system(made, {"ONESTOP_LOG_LEVEL": "WARNING"})
    wait_for(system.all_ready, "ready", 60.0, of=made)
    for service in SERVICES:
        let_marks_stay_young(made, service)
    system.apply_until_taken("before-the-workers-end")
    system.wait_until_complete()
    moved = {service for service in SERVICES if is_unmarked(made, service)}
    assert {"intake", "approval"} <= moved
    for worker in system.workers:
        assert worker.terminate(40) == 0
    assert not any(is_unmarked(made, service) for service in SERVICES)

    system.apply_until_taken("before-the-web-process-ends")
    assert is_unmarked(made, "intake")
    assert system.web.terminate(40) == 0
    assert not is_unmarked(made, "intake")
    system.client.close()


def let_marks_stay_young(made: Installation, service: str) -> None:
    made.change(f"ALTER FUNCTION {service}.stand() RENAME TO real_stand")
    made.change(
        f"CREATE FUNCTION {service}.stand(OUT epoch uuid, OUT mark bigint, OUT reserved jsonb, "
        "OUT seen jsonb, OUT given jsonb, OUT age_s float, OUT restored_at timestamptz, OUT lost boolean) "
        "LANGUAGE sql AS 'SELECT epoch, mark, reserved, seen, given, 0.5, restored_at, lost "
        f"FROM {service}.real_stand()'"
    )
    made.change(f"GRANT EXECUTE ON FUNCTION {service}.stand() TO PUBLIC")


def is_unmarked(made: Installation, service: str) -> bool:
    return bool(made.value(f"SELECT seen IS DISTINCT FROM given FROM {service}.stand()"))


def test_where_the_witness_is_lost_too_the_others_know_how_far_numbers_went(made: Installation) -> None:
    made.submit(made.citizen())
    copies = copies_of(made, "intake")
    made.value("SELECT setval('intake.case_serial', :far)", far=7 * BLOCK)
    lost = made.submit(made.citizen()).number
    made.pump()
    lose(made, copies)
    FileWitness(made.settings.witness_dir / "intake").path.unlink()  # type: ignore[operator]
    start(made)

    assert mend(made, "intake").cases == [lost]
    assert serial(made.submit(made.citizen()).number) > serial(lost)


def test_killed_between_database_and_witness_it_is_run_again(
    made: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies = copies_of(made, "intake")
    lost = made.submit(made.citizen()).number
    made.pump()
    lose(made, copies)

    def die(*_: Any, **__: Any) -> None:
        raise InterruptedError

    with monkeypatch.context() as patch:
        patch.setattr(FileWitness, "keep", die)
        with pytest.raises(InterruptedError):
            restored(made.settings, "intake")
    start(made)
    assert mend(made, "intake").cases == [lost], "it is still named"
    assert serial(made.submit(made.citizen()).number) > serial(lost)
    again = restored(made.settings, "intake")
    assert again.cases == [lost]
    a_second_passes(made)
    assert is_ready(made, "intake"), "running it once more does no harm"


def test_killed_between_database_and_witness_a_mark_is_no_restore(
    made: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: Any, **__: Any) -> None:
        raise InterruptedError

    made.submit(made.citizen())
    with monkeypatch.context() as patch:
        patch.setattr(FileWitness, "keep", die)
        with pytest.raises(InterruptedError):
            a_second_passes(made)
    start(made)
    assert all(is_ready(made, service) for service in SERVICES)


def test_a_block_is_witnessed_before_its_first_serial_is_used(
    made: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = made.context("intake")
    assert context.guard is not None
    kept: list[int] = []
    keep = FileWitness.keep

    def count(self: FileWitness, mark: Any, *, new_epoch: bool = False) -> None:
        keep(self, mark, new_epoch=new_epoch)
        kept.append(mark.reserved["case_serial"])

    monkeypatch.setattr(FileWitness, "keep", count)
    taken = []
    for _ in range(30):
        with unit_of(context, "test.serials") as unit:
            taken += unit.serials("case_serial", BLOCK // 10)
        seen = context.guard.witness.read()
        assert seen is not None
        assert taken[-1] <= seen.reserved["case_serial"]
    assert taken == sorted(set(taken))
    assert len(kept) <= len(taken) // BLOCK + 1


def claim(made: Installation, number: str) -> None:
    """An officer takes the open task of a case."""
    task_id = made.value("SELECT id FROM approval.tasks WHERE case_no = :n AND state = 'open'", n=number)
    with unit_of(made.context("approval"), "test.claim") as unit:
        found = queries.lock_task(unit.session, task_id)
        assert found is not None
        commands.claim_task(unit, *found, officer("officer-1"))


def test_the_doctor_tells_a_witness_that_cannot_be_replaced(
    made: Installation, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    give_commands_to(made, monkeypatch)
    assert made.settings.witness_dir is not None

    def told() -> tuple[str, str]:
        capsys.readouterr()
        run(["doctor", "--json"])
        [found] = [c for c in json.loads(capsys.readouterr().out)["checks"] if c["check"] == "witnesses"]
        return found["level"], found["found"]

    made.submit(made.citizen())
    assert told() == ("ok", "the databases are what they saw")
    # So that nobody can write there, not even root.
    (made.settings.witness_dir / "intake" / "witness.json.half").mkdir()
    assert told() == ("fail", "intake: database.witness-unusable")


def test_what_others_heard_is_no_word_of_a_service_whose_witness_agrees(made: Installation) -> None:
    """Somebody speaks in its name, or its copy was brought back so soon that nobody saw: people must look."""
    number = made.submit(made.citizen()).number
    made.pump()
    copies = copies_of(made, "approval")
    claim(made, number)
    made.pump()
    bring_back(made.admin, copies[0])
    start(made)
    assert is_ready(made, "approval")

    def all_that_is_known() -> list[Any]:
        return [
            made.rows("SELECT * FROM approval.lost_facts"),
            made.rows("SELECT epoch, restored_at FROM approval.witness"),
            made.rows("SELECT number, sequence, last_fact FROM approval.cases"),
            made.rows("SELECT minute, sum(facts) FROM approval.said_tally GROUP BY 1 ORDER BY 1"),
        ]

    before = all_that_is_known()
    found = restored(made.settings, "approval")
    assert (found.differs, found.never_said, found.facts) == (False, 1, [])
    assert all_that_is_known() == before

    found = restored(made.settings, "approval", heard=True)
    assert [(fact.case, fact.fact) for fact in found.facts] == [(number, "task-claimed")]
    assert (found.differs, found.never_said) == (True, 0)
    assert restored(made.settings, "approval").never_said == 0


def test_what_nobody_can_say_again_holds_nobody_up_when_somebody_has_looked(made: Installation) -> None:
    """Speaker and subscriber come back from copies of different ages; a third one heard what was lost."""
    number = made.submit(made.citizen()).number
    made.pump()
    copies = copies_of(made, "notify", "approval")
    claim(made, number)
    made.pump()
    lose(made, copies)
    mended = mend(made, "approval")
    assert [(fact.case, fact.fact) for fact in mended.facts] == [(number, "task-claimed")]

    minutes_pass(made)
    assert alarms(made) == {"approval -> notify": (1, 0)}
    made.decide(number)
    made.pump()
    assert made.value("SELECT count(*) FROM notify.inbox WHERE state = 'waiting'") > 0
    settle(made.settings, "approval", number)
    made.pump()
    minutes_pass(made)

    assert alarms(made) == {}
    assert made.unfinished("notify") == 0
    assert parked(made) == []
    told = made.rows("SELECT template FROM notify.deliveries WHERE case_no = :n", n=number)
    assert ("case-approved",) in told


def test_a_sequence_far_off_makes_no_row_for_each_number_before_it(made: Installation) -> None:
    """Somebody with a broker log-in of a service says one fact, and the service is brought back."""
    number = made.submit(made.citizen()).number
    made.pump()
    copies = copies_of(made, "approval")
    claim(made, number)
    made.pump()
    made.change(
        "INSERT INTO intake.inbox (id, speaker, case_no, sequence, type, state, event, received_at) "
        "VALUES (gen_random_uuid(), 'approval', :n, 3000000, 'onestop.approval.task-claimed.v1', 'waiting', "
        "'{}', clock_timestamp())",
        n=number,
    )
    lose(made, copies)

    found = mend(made, "approval")
    assert [(fact.case, fact.fact) for fact in found.facts] == [(number, "task-claimed")]
    assert found.apart == {number: 1}


@pytest.mark.parametrize(
    "wrong",
    [
        {"sequence": "x"},
        {"sequence": "9999999999"},
        {"sequence": "99999999999999999999"},
        {"sequence": None},
        {"subject": None},
        {"subject": "n" * 100},
        {"id": "x"},
        {"type": "n" * 1000},
    ],
)
def test_a_message_that_is_no_fact_stops_nobody(made: Installation, wrong: dict[str, Any]) -> None:
    copies = copies_of(made, "approval")
    lost = made.submit(made.citizen()).number
    made.pump()
    sound = {
        "source": "/onestop/approval",
        "id": "01900000-0000-7000-8000-000000000000",
        "subject": "330106261123000001X",
        "sequence": "1",
        "type": "onestop.approval.task-claimed.v1",
    }
    made.change(
        "INSERT INTO intake.messages (speaker, facts, received_at) "
        "VALUES ('approval', CAST(:facts AS jsonb), clock_timestamp())",
        facts=json.dumps([sound | wrong]),
    )
    lose(made, copies)

    assert lost in mend(made, "approval").cases


def test_the_command_and_the_doctor_tell_what_is_lost(
    made: Installation, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in made.environment().items():
        if name.startswith("ONESTOP_"):
            monkeypatch.setenv(name, value)
    number = made.submit(made.citizen()).number
    made.pump()
    copies = copies_of(made, "approval")
    made.decide(number)
    made.pump()
    lose(made, copies)

    def printed(*arguments: str, code: int = 0) -> Any:
        capsys.readouterr()
        assert run([*arguments, "--json"]) == code
        return json.loads(capsys.readouterr().out)

    found = {check["check"]: check for check in printed("doctor", code=1)["checks"]}
    assert found["witnesses"]["found"] == "approval: database.restored"
    assert found["witnesses"]["fix"] == "docs/runbook.md, restored"
    [told] = printed("restored", "--service", "approval")["restored"]
    assert told["differs"] is True
    assert told["counts"]["facts"] == len(told["facts"]) > 3
    assert {fact["case"] for fact in told["facts"]} == {number}
    found = {check["check"]: check for check in printed("doctor")["checks"]}
    assert found["witnesses"]["ok"] is True
    assert run(["restored", "--settled", number]) == 2, "whose acts?"
    assert run(["restored", "--service", "approval", "--settled", number]) == 0
    assert run(["restored", "--service", "approval", "--settled", number]) == 3
    others = printed("restored")["restored"]
    witness = FileWitness(made.settings.witness_dir / "notify")  # type: ignore[operator]
    kept = witness.path.read_text()
    witness.path.write_text('{"mark": 1e999}')
    found = {check["check"]: check for check in printed("doctor", code=1)["checks"]}
    assert found["witnesses"]["found"] == "notify: database.witness-unusable"
    assert run(["restored", "--service", "notify"]) == 5
    assert "delete the file, then run `onestop restored`" in capsys.readouterr().err
    witness.path.write_text(kept)
    assert {one["service"]: one["differs"] for one in others} == dict.fromkeys(SERVICES, False)
