"""A data key is replaced while everything runs: nothing becomes unreadable, nobody becomes two persons, and
the old key is destroyed once nothing stands under it. Whoever is killed at it, somebody goes on."""

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from deploy.commands.app import run
from deploy.services import SERVICES, sealed_tables
from services.intake import queries
from services.intake.identity.persons import register_person
from services.intake.retention import RULES
from services.intake.rules.submission import NamedPerson
from shared import faults
from shared.bus.context import ServiceContext
from shared.bus.housekeeping import forget_old
from shared.bus.rotation import begin_rotation, finish_rotation, go_on, key_status
from shared.bus.unit import unit_of
from shared.context import build_context
from shared.db.outages import DatabaseAway, Outage
from shared.http.again import runs_again
from shared.privacy.keys import KeyState, VaultError
from tests.support.giving import command, give_commands_to, logging_as_before
from tests.support.installation import (
    GAP,
    Installation,
    db_installation,
    delivery,
    id_number,
    installation,
    secrets_dir,
    template_settings,
    wait_for,
)
from tests.support.journey import Journey, open_hall
from tests.support.principals import VERIFIED
from tests.support.sealing import everything, fill_and_seal, guards_of, key_states, open_all

__all__ = [
    "db_installation",
    "delivery",
    "installation",
    "logging_as_before",
    "secrets_dir",
    "template_settings",
]

WHO = NamedPerson("张三", id_number(700_001), "13900700001")


@contextmanager
def fresh(made: Installation, service: str) -> Iterator[ServiceContext]:
    """A process that starts now."""
    context = build_context(made.settings, service)
    try:
        yield context
    finally:
        context.engine.dispose()


def rotate(made: Installation, service: str) -> Any:
    """Begin and finish, as the command does."""
    with fresh(made, service) as context:
        begin_rotation(context, "tester")
        return finish_rotation(context, sealed_tables(service))


LOOKUPS = [table for table in sealed_tables("intake") if not table.can_be_sealed_again]
"""Tables of look-ups alone, whose rows go by themselves."""


def let_lookups_go(made: Installation) -> None:
    """So much time passes that all of them have stayed for theirs."""
    for rule in RULES:
        if rule.table in {table.name for table in LOOKUPS}:
            made.change(f"UPDATE intake.{rule.table} SET {rule.since} = {rule.since} - interval '1 year'")
    gone = forget_old(made.context("intake"), RULES)
    assert all(gone[table.name] for table in LOOKUPS)


def forget_lookups(made: Installation) -> None:
    """As after two days in which nobody applied: what is counted by the day stands under look-ups alone."""
    for table in LOOKUPS:
        made.change(f"DELETE FROM intake.{table.name}")


@pytest.mark.parametrize("service", SERVICES)
def test_the_database_guards_what_the_registry_names(db_installation: Installation, service: str) -> None:
    named = {f"{table.name}.{column}" for table in sealed_tables(service) for column in table.columns}
    assert guards_of(db_installation, service) == named


def test_everything_is_sealed_again_and_the_old_key_destroyed(db_installation: Installation) -> None:
    made = db_installation
    fill_and_seal(made)
    for service in SERVICES:
        wanted = everything(made, service)
        running = made.context(service)
        assert open_all(made, running).texts == wanted
        if service == "intake":
            let_lookups_go(made)
        turned = rotate(made, service)
        assert (turned.retired, turned.left, turned.unopened, turned.complete) == ([1], [], {}, True)
        assert key_states(made, service) == {1: "retired", 2: "active"}
        assert made.value(f"SELECT octet_length(wrapped) FROM {service}.data_keys WHERE key_id = 1") == 0
        with fresh(made, service) as started:
            for context in (running, started):
                opened = open_all(made, context)
                assert opened.texts == wanted
                assert opened.under.keys() == {2}, "nothing stands under the old key"


def test_a_look_up_without_its_value_keeps_the_old_key_until_its_rows_are_gone(
    db_installation: Installation,
) -> None:
    made = db_installation
    fill_and_seal(made)
    turned = rotate(made, "intake")
    assert (turned.retired, turned.left, turned.complete) == ([], [1], True)
    context = made.context("intake")
    old, new = key_status(context, sealed_tables("intake"))
    assert (old.state, old.waits_for, new.state, new.waits_for) == (
        KeyState.RETIRING,
        [table.name for table in LOOKUPS],
        KeyState.ACTIVE,
        [],
    )
    under_old = {name: counted.count for name, counted in old.rows.items() if counted.count}
    left = [f"{table.name}.{column}" for table in LOOKUPS for column in table.columns]
    assert under_old == dict.fromkeys(left, 3)
    assert new.rows["persons.id_lookup"].count == 3
    # A second rotation waits for the end of the first.
    assert begin_rotation(context, "tester") == 2
    let_lookups_go(made)
    go_on(context, sealed_tables("intake"))
    assert key_states(made, "intake") == {1: "retired", 2: "active"}
    assert key_status(context, sealed_tables("intake"))[0].rows == {}


def test_what_a_backup_holds_under_a_destroyed_key_does_not_open(db_installation: Installation) -> None:
    made = db_installation
    place = {"table": "persons", "row": 1, "column": "sealed_name"}
    blob = made.context("intake").vault.seal("张三", **place)  # type: ignore[arg-type]
    assert rotate(made, "intake").retired == [1]
    with fresh(made, "intake") as context, pytest.raises(VaultError, match="no data key 1"):
        context.vault.open(blob, **place)  # type: ignore[arg-type]


def meet(context: ServiceContext, who: NamedPerson) -> UUID:
    """As a request does: run again when the database says so."""

    def once() -> UUID:
        with unit_of(context, "test.meet") as unit:
            return register_person(unit, who, VERIFIED)

    found: UUID = runs_again(once)()
    return found


def test_who_has_missed_the_rotation_is_refused_once_and_finds_the_same_person(
    db_installation: Installation,
) -> None:
    made = db_installation
    unaware, aware = made.context("intake"), build_context(made.settings, "intake")
    unaware.vault.lookup("", kind="")
    begin_rotation(aware, "tester")
    ref = meet(aware, WHO)
    with pytest.raises(DatabaseAway) as refused, unit_of(unaware, "test.meet") as unit:
        register_person(unit, WHO, VERIFIED)
    assert refused.value.outage is Outage.CONTENDED
    assert meet(unaware, WHO) == ref
    assert made.value("SELECT count(*) FROM intake.persons") == 1
    aware.engine.dispose()


def test_two_who_know_different_keys_meet_the_same_person_at_once(db_installation: Installation) -> None:
    """The one began before the new key did, and its look-up is one that the other would not write."""
    made = db_installation
    early, late = made.context("intake"), build_context(made.settings, "intake")
    with ThreadPoolExecutor(1) as pool:
        with unit_of(early, "test.meet") as unit:
            ref = register_person(unit, WHO, VERIFIED)
            begin_rotation(late, "tester")
            second = pool.submit(meet, late, WHO)
            wait_for(lambda: bool(made.value(WAITING)), "the second waits for the first")
            assert not second.done()
        assert second.result(10) == ref
    assert made.value("SELECT count(*) FROM intake.persons") == 1
    finish_rotation(late, sealed_tables("intake"))
    assert meet(early, WHO) == ref
    late.engine.dispose()


WAITING = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"


def test_nobody_becomes_two_persons_while_keys_are_rotated_over_and_over(
    db_installation: Installation,
) -> None:
    made = db_installation
    contexts = [build_context(made.settings, "intake") for _ in range(4)]
    turns = 3
    people = [
        [NamedPerson("甲", id_number(710_000 + turn * 20 + n), None) for n in range(20)]
        for turn in range(turns)
    ]
    gate = threading.Barrier(len(contexts))

    def meet_all(context: ServiceContext, crowd: list[NamedPerson]) -> list[UUID]:
        gate.wait()
        return [meet(context, who) for who in crowd]

    with ThreadPoolExecutor(len(contexts) + 1) as pool:
        for crowd in people:
            met = [pool.submit(meet_all, context, crowd) for context in contexts]
            turned = pool.submit(rotate, made, "intake")
            refs = [future.result(60) for future in met]
            assert all(found == refs[0] for found in refs)
            assert turned.result(60).left == []
    rows = made.rows("SELECT person_ref, sealed_id_number FROM intake.persons")
    vault = contexts[0].vault
    numbers = [
        vault.open(row.sealed_id_number, table="persons", row=row.person_ref, column="sealed_id_number")
        for row in rows
    ]
    assert sorted(numbers) == sorted(who.id_number for crowd in people for who in crowd)
    # Only what stands under the new key is found by a process that knows no other.
    with fresh(made, "intake") as context, unit_of(context, "test.read") as unit:
        for who, ref in zip(people[0], refs[0], strict=False):
            del ref
            lookups = context.vault.lookups(who.id_number, kind="id-number")
            assert len(lookups) == 1
            assert queries.person_by_lookup(unit.session, lookups) is not None
    for context in contexts:
        context.engine.dispose()


def test_a_row_that_is_being_written_is_not_overwritten(db_installation: Installation) -> None:
    made = db_installation
    fill_and_seal(made)
    let_lookups_go(made)
    writer = build_context(made.settings, "intake")
    begin_rotation(writer, "tester")
    tables = sealed_tables("intake")
    number = made.value("SELECT min(number) FROM intake.cases")
    with unit_of(writer, "test.write") as unit:
        case = queries.lock_cases(unit.session, {number})[number]
        with fresh(made, "intake") as context:
            turned = finish_rotation(context, tables, wait_s=0.2)
        # The transaction began before: it may have sealed under the old key unseen.
        assert (turned.complete, turned.left) == (False, [1])
        case.sealed_form = writer.vault.seal("改过", table="cases", row=number, column="sealed_form")
    assert rotate(made, "intake").retired == [1]
    with fresh(made, "intake") as context:
        assert open_all(made, context).texts["cases", number, "sealed_form"] == "改过"
    writer.engine.dispose()


def test_what_a_transaction_wrote_under_the_old_key_unseen_is_sealed_again(
    db_installation: Installation,
) -> None:
    made = db_installation
    early = made.context("intake")
    tables = sealed_tables("intake")
    with unit_of(early, "test.meet") as unit:
        ref = register_person(unit, WHO, VERIFIED)
        with fresh(made, "intake") as context:
            begin_rotation(context, "tester")
            assert not finish_rotation(context, tables, wait_s=0.2).complete
    assert key_states(made, "intake") == {1: "retiring", 2: "active"}
    with fresh(made, "intake") as context:
        go_on(context, tables)
        assert key_states(made, "intake") == {1: "retired", 2: "active"}
        texts = open_all(made, context).texts
        assert texts["persons", str(ref), "sealed_id_number"] == WHO.id_number


@pytest.mark.usefixtures("logging_as_before")
def test_what_does_not_open_is_counted_and_keeps_the_old_key(
    db_installation: Installation, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = db_installation
    fill_and_seal(made)
    let_lookups_go(made)
    made.change(
        "UPDATE intake.cases SET sealed_form = set_byte(sealed_form, 20, 255 - get_byte(sealed_form, 20)) "
        "WHERE number = (SELECT min(number) FROM intake.cases)"
    )
    give_commands_to(made, monkeypatch)
    assert run(["keys", "rotate", "--service", "intake", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["unopened"], told["retired"], told["left"]) == ({"cases": 1}, [], [1])
    old = key_status(made.context("intake"), sealed_tables("intake"))[0]
    assert {name: counted.count for name, counted in old.rows.items() if counted.count} == {
        "cases.sealed_form": 1
    }


@pytest.mark.usefixtures("logging_as_before")
def test_the_commands_say_what_stands_where_and_no_more(
    db_installation: Installation, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = db_installation
    who = made.citizen()
    made.submit(who)
    forget_lookups(made)
    give_commands_to(made, monkeypatch)
    assert run(["keys", "rotate", "--service", "intake", "--json"]) == 0
    assert run(["keys", "status", "--json"]) == 0
    assert run(["keys", "status", "--service", "intake"]) == 0
    assert run(["keys", "status", "--service", "notify"]) == 0
    printed = capsys.readouterr()
    told = printed.out + printed.err
    master = (made.settings.secrets_dir / "intake" / "master.key").read_text(encoding="ascii").strip()
    for secret in (who.name, who.id_number, who.phone, master):
        assert secret not in told
    found = json.JSONDecoder()
    rotated, end = found.raw_decode(printed.out)
    assert "nothing sealed" in printed.out.splitlines()[-1]
    assert printed.out.count("nothing sealed") == 1
    assert (rotated["key"], rotated["retired"]) == (2, [1])
    status, _ = found.raw_decode(printed.out[end:].lstrip())
    old, new = status["services"]["intake"]
    assert (old["key"], old["state"], old["rows"]) == (1, "retired", {})
    assert (new["key"], new["state"], new["made_by"]) == (2, "active", made_by())
    assert new["rows"]["cases.sealed_form"] == {"count": 1, "more": False}
    assert run(["keys", "rotate", "--service", "nobody"]) == 2


def made_by() -> str:
    """Whose name a command notes."""
    import getpass

    return getpass.getuser()


def points_of_a_rotation(made: Installation) -> list[str]:
    """Every crash point, in order, once each."""
    seen: dict[str, None] = {}
    faults.trace_points(lambda name: seen.setdefault(name))
    try:
        rotate(made, "approval")
    finally:
        faults.trace_points(None)
    return [name for name in seen if name.startswith("keys.")]


def test_people_notice_nothing(db_installation: Installation) -> None:
    """The process that answers them has missed the rotation."""
    made = db_installation
    who = made.citizen(GAP)
    with open_hall(made) as client:
        for key in (1, 2, 3):
            journey = Journey(who, client.request, made.pump)
            journey.run()
            assert journey.repeated == 0
            forget_lookups(made)
            for service in ("intake", "materials"):
                assert rotate(made, service).retired == [key]
    assert made.value("SELECT count(*) FROM intake.persons") == 1


def test_doctor_names_a_key_that_does_not_go(
    db_installation: Installation, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = db_installation
    fill_and_seal(made)
    rotate(made, "intake")
    give_commands_to(made, monkeypatch)
    capsys.readouterr()

    def keys() -> tuple[str, str]:
        run(["doctor", "--json"])
        checks = json.loads(capsys.readouterr().out)["checks"]
        [found] = [check for check in checks if check["check"] == "keys"]
        return found["level"], found["found"]

    assert keys() == ("ok", "every data key opens")
    made.change("UPDATE intake.data_keys SET created_at = created_at - interval '3 days'")
    level, told = keys()
    assert (level, told.partition(":")[0]) == ("warn", "intake")
    made.change("UPDATE notify.data_keys SET wrapped = set_byte(wrapped, 20, 255 - get_byte(wrapped, 20))")
    level, told = keys()
    assert (level, "data key 1 of notify was not wrapped" in told) == ("fail", True)


@pytest.mark.slow
def test_killed_anywhere_it_goes_on(db_installation: Installation) -> None:
    made = db_installation
    fill_and_seal(made)
    points = points_of_a_rotation(made)
    assert {"keys.activate.commit.after", "keys.reseal.commit.before", "keys.retire.commit.after"} < set(
        points
    )
    wanted = everything(made, "approval")
    for number, point in enumerate(points):
        nth = 2 if point.startswith("keys.reseal") else 1
        killed = command(made, f"{point}:{nth}:kill", "keys", "rotate", "--service", "approval")
        assert killed.returncode == -9, f"{point}: {killed.stderr}"
        with fresh(made, "approval") as context:
            assert open_all(made, context).texts == wanted, point
            # By the next command, or by a worker.
            if number % 2:
                go_on(context, sealed_tables("approval"))
            elif "retiring" in key_states(made, "approval").values():
                begin_rotation(context, "tester")
                finish_rotation(context, sealed_tables("approval"))
            assert "retiring" not in key_states(made, "approval").values(), point
            [active] = [key for key, state in key_states(made, "approval").items() if state == "active"]
            opened = open_all(made, context)
            assert (opened.texts, set(opened.under)) == (wanted, {active}), point


@pytest.mark.slow
def test_rotated_under_traffic_nothing_stops_and_everything_opens(installation: Installation) -> None:
    made = installation
    made.worker("intake", "materials")
    made.worker("approval", "notify")
    stop = threading.Event()
    numbers: list[str] = []
    crowd = [made.citizen() for _ in range(4)]
    submit: Callable[..., Any] = runs_again(made.submit)

    def apply() -> None:
        while not stop.is_set():
            for who in crowd:
                numbers.append(submit(who).number)

    with ThreadPoolExecutor(1) as pool:
        applying = pool.submit(apply)
        wait_for(lambda: len(numbers) > 20, "traffic", of=made)
        for service in SERVICES:
            before = len(numbers)
            told = command(made, "", "keys", "rotate", "--service", service)
            assert told.returncode == 0, told.stderr
            wait_for(lambda before=before: len(numbers) > before, "traffic after it", of=made)  # type: ignore[misc]
        stop.set()
        applying.result(30)
    wait_for(lambda: all(map(made.has_heard_all, numbers)), "all is heard", 120, of=made)
    forget_lookups(made)
    go_on(made.context("intake"), sealed_tables("intake"))
    assert key_states(made, "intake") == {1: "retired", 2: "active"}
    with fresh(made, "intake") as context:
        opened = open_all(made, context)
    assert opened.under.keys() == {2}
    assert len([place for place in opened.texts if place[0] == "cases"]) == len(numbers)
    assert made.value("SELECT count(*) FROM intake.persons") == len(crowd)
    for service in SERVICES:
        assert made.value(f"SELECT count(*) FROM {service}.inbox WHERE state = 'parked'") == 0


@pytest.mark.slow
def test_a_worker_goes_on_after_a_command_that_was_killed(db_installation: Installation) -> None:
    made = db_installation
    made.submit(made.citizen())
    forget_lookups(made)
    killed = command(made, "keys.activate.commit.after:1:kill", "keys", "rotate", "--service", "intake")
    assert killed.returncode == -9
    assert key_states(made, "intake") == {1: "retiring", 2: "active"}
    made.worker("intake")
    wait_for(lambda: key_states(made, "intake")[1] == "retired", "a worker has finished it", of=made)


def test_a_service_cannot_touch_its_keys_but_through_the_owners_functions(
    db_installation: Installation,
) -> None:
    made = db_installation
    context = made.context("intake")
    meet(context, WHO)
    with unit_of(context, "test.keys") as unit:
        assert unit.connection.execute(text("SELECT intake.retire_key(1)")).scalar_one() is False
    begin_rotation(context, "tester")
    with unit_of(context, "test.keys") as unit:
        # What is needed is not destroyed, whoever asks.
        assert unit.connection.execute(text("SELECT intake.retire_key(1)")).scalar_one() is False
    assert key_states(made, "intake") == {1: "retiring", 2: "active"}
