"""What a command answers to whoever scripts it: 0 done, 1 failed, 2 usage or settings, 3 not found,
4 conflict, 5 something we need is away, 130 interrupted; data on standard output, all else beside it."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from io import StringIO
from pathlib import Path
from typing import Any

import pika
import pytest
import yaml

from deploy.commands import app
from deploy.commands.app import run
from deploy.services import SERVICES
from shared.bus.topology import PARK_EXCHANGE, queue_name
from shared.catalogue.loader import BUILT_IN
from tests.integration.bus.test_trouble import MANY
from tests.support.installation import (
    MATTER,
    Installation,
    db_installation,
    delivery,
    installation,
    secrets_dir,
    template_settings,
)

__all__ = ["db_installation", "delivery", "installation", "secrets_dir", "template_settings"]

Printed = Callable[[], Any]
NOBODY = "notify.fact.00000000-0000-0000-0000-000000000000"


@pytest.fixture
def commands(installation: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installation:
    """Commands given in this process go to this installation."""
    for name, value in installation.environment().items():
        if name.startswith("ONESTOP_"):
            monkeypatch.setenv(name, value)
    monkeypatch.setenv("ONESTOP_DATA_DIR", str(tmp_path / "data"))
    return installation


in_database = pytest.mark.parametrize("delivery", ["database"], indirect=True)
over_the_broker = pytest.mark.parametrize("delivery", ["rabbitmq"], indirect=True)


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Printed:
    """What was printed as JSON since the last time."""
    return lambda: json.loads(capsys.readouterr().out)


@in_database
def test_done(commands: Installation, printed: Printed) -> None:
    number = commands.submit(commands.citizen()).number
    commands.pump()
    for arguments in (
        ["case", "show", number],
        ["case", "trace", number],
        ["trouble", "list"],
        ["doctor"],
        ["config", "check"],
    ):
        assert run([*arguments, "--json"]) == 0, arguments
        assert printed()
    assert run(["config", "show"]) == 0
    assert printed()["environment"] == "test"


@in_database
def test_a_trace_tells_a_newcomer_what_happened_and_what_waits(
    commands: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    number = commands.submit(commands.citizen()).number
    assert run(["case", "trace", number]) == 0
    unsent = capsys.readouterr().out
    assert "Does not go on by itself, or has not yet:" in unsent
    assert "not handed on yet" in unsent
    commands.pump()
    assert run(["case", "trace", number]) == 0
    head, _, said = capsys.readouterr().out.partition("\n\n")
    assert number in head
    assert "Asia/Shanghai" in head
    lines = said.splitlines()
    assert lines[0].split("  ")[0] == "at"
    assert "intake 1" in lines[1]
    assert "Application received" in lines[1]
    assert lines[1].endswith("approval, materials, notify")
    assert lines[-1] == "Everything that was said is handled."
    assert not re.search(r"[0-9a-f]{8}-[0-9a-f]{4}|onestop\.|\+00:00", said)


@in_database
def test_the_list_of_trouble_is_a_page_with_counts_that_stop(
    commands: Installation, printed: Printed
) -> None:
    commands.change(MANY.format(s="notify"))
    commands.change(
        "INSERT INTO intake.jobs (kind, key, payload, state, due_at, created_at, finished_at) "
        "SELECT 'test', n::text, '{}', 'failed', at, at, at FROM generate_series(1, 10000) AS n, "
        "(VALUES (timestamptz '2026-11-27')) AS t (at)"
    )
    assert run(["trouble", "list", "--limit", "20", "--json"]) == 0
    first = printed()
    assert len(first["trouble"]) == 20
    assert {"service": "intake", "kind": "failed_job", "count": 1000, "more": True}.items() <= next(
        count for count in first["counts"] if count["service"] == "intake"
    ).items()
    assert run(["trouble", "list", "--limit", "20", "--cursor", first["next"], "--json"]) == 0
    second = printed()
    assert not {t["id"] for t in first["trouble"]} & {t["id"] for t in second["trouble"]}
    assert run(["trouble", "list", "--service", "notify", "--kind", "parked", "--json"]) == 0
    assert {(t["service"], t["kind"]) for t in printed()["trouble"]} == {("notify", "parked")}


@in_database
def test_the_list_for_people_is_a_table(commands: Installation, capsys: pytest.CaptureFixture[str]) -> None:
    commands.change(MANY.format(s="notify"))
    assert run(["trouble", "list", "--limit", "5"]) == 0
    shown = capsys.readouterr()
    assert len(shown.out.splitlines()) == 6
    assert "notify: 15 parked" in shown.err
    assert "--cursor" in shown.err


@in_database
def test_trouble_is_a_finding_of_the_doctor(commands: Installation, printed: Printed) -> None:
    commands.change(MANY.format(s="notify"))
    assert run(["doctor", "--json"]) == 1
    found = {check["check"]: check for check in printed()["checks"]}
    assert found["trouble"]["ok"] is False
    assert "notify: 15 parked" in found["trouble"]["found"]
    assert found["trouble"]["fix"] == "onestop trouble list"
    assert all(check["ok"] is not False for name, check in found.items() if name != "trouble")


@in_database
@pytest.mark.parametrize(
    ("change", "check", "says"),
    [
        (
            "INSERT INTO notify.comparisons (speaker, compared_to, checked_at, missing) "
            "SELECT 'intake', now(), now(), 7",
            "facts missing",
            "intake -> notify: 7",
        ),
        (
            "INSERT INTO notify.comparisons (speaker, compared_to, checked_at, above) "
            "SELECT 'approval', now(), now(), 2",
            "facts never said",
            "approval -> notify: 2",
        ),
        (
            "UPDATE intake.outbox SET sent_at = NULL, emitted_at = now() - interval '61 seconds'",
            "facts unsent",
            "intake: the oldest waits for 6",
        ),
        (
            "INSERT INTO intake.public_outbox VALUES (1, '{}', now() - interval '301 seconds')",
            "public facts unsent",
            "intake: the oldest waits for 30",
        ),
    ],
)
def test_facts_that_do_not_come_through_are_a_finding_of_the_doctor(
    commands: Installation, printed: Printed, change: str, check: str, says: str
) -> None:
    commands.submit(commands.citizen())
    commands.pump()
    assert run(["doctor", "--json"]) == 0
    printed()
    assert commands.change(change) == 1
    assert run(["doctor", "--json"]) == 1
    [found] = [found for found in printed()["checks"] if found["ok"] is False]
    assert found["check"] == check
    assert found["found"].startswith(says)
    assert found["fix"]


@over_the_broker
def test_messages_in_the_park_queue_are_a_finding_of_the_doctor(
    commands: Installation, printed: Printed
) -> None:
    connection = pika.BlockingConnection(pika.URLParameters(commands.broker_url))
    channel = connection.channel()
    channel.confirm_delivery()
    channel.basic_publish(PARK_EXCHANGE, "", b"nonsense")
    connection.close()
    with consuming(commands, *SERVICES):
        assert run(["doctor", "--json"]) == 1
    [park] = [check for check in printed()["checks"] if check["ok"] is False]
    assert (park["check"], park["found"]) == ("park queue", "1 messages in onestop.park")


@contextmanager
def consuming(made: Installation, *services: str) -> Iterator[None]:
    """Somebody is there for the queues of these services."""
    with closing(pika.BlockingConnection(pika.URLParameters(made.broker_url))) as connection:
        for service in services:
            connection.channel().basic_consume(queue_name(service), lambda *_: None)
        yield


@over_the_broker
def test_a_queue_that_nobody_consumes_is_told_by_the_doctor_and_by_topology_check(
    commands: Installation, printed: Printed
) -> None:
    with consuming(commands, *SERVICES):
        assert run(["doctor", "--json"]) == 0
        printed()
        assert run(["topology", "check", "--json"]) == 0
        assert printed()["wrong"] == []
    with consuming(commands, *(service for service in SERVICES if service != "notify")):
        assert run(["doctor", "--json"]) == 1
        [found] = [check for check in printed()["checks"] if check["ok"] is False]
        assert (found["check"], found["found"]) == ("consumers", "none on onestop.notify")
        assert found["fix"]
        assert run(["topology", "check", "--json"]) == 1
        [line] = printed()["wrong"]
        assert "onestop.notify" in line


@in_database
@pytest.mark.parametrize(
    "arguments",
    [
        ["trouble", "list", "--kind", "misery"],
        ["trouble", "list", "--service", "kitchen"],
        ["trouble", "list", "--limit", "0"],
        ["trouble", "list", "--limit", "101"],
        ["trouble", "list", "--cursor", "nonsense"],
        ["trouble", "show"],
        ["parked", "list"],
        ["topology", "check"],
    ],
)
def test_usage(commands: Installation, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 2
    assert capsys.readouterr().out == ""


@in_database
@pytest.mark.parametrize("command", [["doctor"], ["trouble", "list"], ["config", "check"], ["migrate"]])
def test_settings(commands: Installation, command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONESTOP_WEB__PORT", "many")
    assert run(command) == 2


@in_database
def test_not_found(commands: Installation, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (
        ["case", "show", "330106261123999999X"],
        ["case", "trace", "330106261123999999X"],
        ["trouble", "show", NOBODY],
        ["trouble", "retry", NOBODY],
        ["trouble", "drop", "--yes", NOBODY],
        ["trouble", "show", "nonsense"],
        ["matter", "publish", "/nowhere.yaml"],
        ["ps"],
        ["down"],
    ):
        assert run(arguments) == 3, arguments
        printed = capsys.readouterr()
        assert printed.out == ""
        assert printed.err.startswith("onestop: ")


@in_database
def test_conflict(commands: Installation, tmp_path: Path) -> None:
    commands.change(MANY.format(s="notify"))
    unreadable = commands.value("SELECT id FROM notify.inbox WHERE state = 'unreadable' LIMIT 1")
    assert run(["trouble", "retry", f"notify.fact.{unreadable}"]) == 4
    changed = yaml.safe_load((BUILT_IN / f"{MATTER}.yaml").read_text("utf-8")) | {"theme": "other"}
    file = tmp_path / f"{MATTER}.yaml"
    file.write_text(yaml.safe_dump(changed, allow_unicode=True), encoding="utf-8")
    assert run(["matter", "publish", str(file)]) == 4


@in_database
def test_away(commands: Installation, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ONESTOP_BROKER_URL", "amqp://127.0.0.1:9/")
    assert run(["topology", "check"]) == 5
    assert run(["topology", "apply"]) == 5
    # A finding among others: the doctor looks on.
    assert run(["doctor"]) == 1
    monkeypatch.setenv("ONESTOP_DB__HOST", str(tmp_path))
    for arguments in (["trouble", "list"], ["case", "show", "x"], ["migrate"]):
        assert run(arguments) == 5, arguments
    assert run(["doctor"]) == 1


@in_database
def test_interrupted(commands: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    commands.change(MANY.format(s="notify"))
    parked = commands.value("SELECT id FROM notify.inbox WHERE state = 'parked' LIMIT 1")
    # Nobody answers the question whether it is meant.
    monkeypatch.setattr("sys.stdin", StringIO())
    assert run(["trouble", "drop", f"notify.fact.{parked}"]) == 130
    assert commands.value("SELECT count(*) FROM notify.inbox WHERE state = 'parked'") == 15

    def interrupt(**_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(app, "app", interrupt)
    assert run(["doctor"]) == 130


@in_database
def test_an_act_is_done_and_noted(commands: Installation, printed: Printed) -> None:
    commands.change(MANY.format(s="notify"))
    parked = [
        f"notify.fact.{row.id}" for row in commands.rows("SELECT id FROM notify.inbox WHERE state = 'parked'")
    ]
    assert run(["trouble", "show", parked[0]]) == 0
    assert printed()["id"] == parked[0]
    assert run(["trouble", "drop", "--yes", "--json", parked[0]]) == 0
    assert printed() == {"id": parked[0], "act": "dropped"}
    assert run(["trouble", "drop", "--yes", parked[0]]) == 3
    assert commands.rows("SELECT trouble, act FROM notify.trouble_acts") == [
        (parked[0].removeprefix("notify."), "dropped")
    ]
