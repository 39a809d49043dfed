"""Foreign subscribers: only for who is registered single facts are published, each once, in a form that a
CloudEvents SDK reads; whatever becomes of them, our own services do not notice."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import amqp
import pika
import pytest
from cloudevents.core.bindings.rabbitmq import RabbitMQMessage, from_binary
from cloudevents.core.formats.json import JSONFormat
from pika.exceptions import AMQPConnectionError, ChannelClosedByBroker, ProbableAuthenticationError
from sqlalchemy import create_engine, text
from sqlalchemy.exc import ProgrammingError

from deploy.broker_definitions import FOREIGN_LIMITS
from deploy.commands.app import run
from deploy.rabbitmq import RabbitNode
from deploy.secret_files import BROKER, DEFINITIONS
from shared.bus import topology
from shared.bus.broker import BrokerPublisher
from shared.bus.outbox import PublicRelay
from shared.bus.topology import EXCHANGE, PUBLIC_EXCHANGE, broker_url, public_name, queue_name
from shared.db.engine import database_url
from shared.db.roles import app_role
from tests.support.foreign import provide_tools, run_node
from tests.support.installation import (
    Installation,
    db_installation,
    delivery,
    installation,
    secrets_dir,
    template_settings,
    wait_for,
)
from tests.support.messages import facts_in

__all__ = ["db_installation", "delivery", "installation", "secrets_dir", "template_settings"]

NAME = "archive"
USER = f"onestop-public-{NAME}"
QUEUE = public_name(NAME)
SUBMITTED = "onestop.intake.case-submitted.v1"
over_the_broker = pytest.mark.parametrize("delivery", ["rabbitmq"], indirect=True)

Printed = Callable[[], Any]


@pytest.fixture
def made(
    installation: Installation, rabbitmq: RabbitNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Installation]:
    """An installation over a broker to which commands go that are given in this process."""
    give_commands_to(installation, tmp_path, monkeypatch)
    yield installation
    if installation.value("SELECT count(*) FROM onestop.public_subscribers"):
        assert run(["subscribers", "remove", NAME, "--yes"]) == 0
    if USER in rabbitmq.ctl("list_users"):
        rabbitmq.ctl("delete_user", USER)


def give_commands_to(installation: Installation, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in installation.environment().items():
        if name.startswith("ONESTOP_"):
            monkeypatch.setenv(name, value)
    monkeypatch.setenv("ONESTOP_DATA_DIR", str(scratch / "data"))


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Printed:
    """What was printed as JSON since the last time."""
    return lambda: json.loads(capsys.readouterr().out)


def register(made: Installation, scratch: Path, *chosen: str) -> Path:
    """Register somebody; where the password is."""
    password_file = scratch / "its.password"
    chosen = chosen or ("--service", "intake")
    assert run(["subscribers", "add", NAME, *chosen, "--password-file", str(password_file)]) == 0
    return password_file


def let_broker_know(made: Installation, rabbitmq: RabbitNode, scratch: Path) -> None:
    """What the command tells the operator of a broker of their own to do, for this one user: the other users
    of the session's node are more than the file says."""
    definitions = json.loads((made.settings.secrets_dir / BROKER / DEFINITIONS).read_text())
    own = {
        "users": [user for user in definitions["users"] if user["name"] == USER],
        "permissions": [one for one in definitions["permissions"] if one["user"] == USER],
    }
    path = rabbitmq.data_dir / "foreign.json"
    path.write_text(json.dumps(own), encoding="ascii")
    path.chmod(0o644)
    rabbitmq.ctl("import_definitions", str(path))


def public_relay(made: Installation, service: str = "intake") -> PublicRelay:
    url = broker_url(made.settings, service)
    assert url
    made.publishers.append(BrokerPublisher(url, PUBLIC_EXCHANGE, mandatory=False))
    return PublicRelay(made.context(service).engine, service, made.publishers[-1])


def hand_on(made: Installation) -> None:
    """All that intake has said, to ours and then to the others."""
    relay, public = made.relay("intake"), public_relay(made)
    while relay.run_once() > 0:
        pass
    while public.run_once() > 0:
        pass


def said(made: Installation) -> list[dict[str, Any]]:
    """What intake has said, in order."""
    return [row.event for row in made.rows("SELECT event FROM intake.outbox ORDER BY id")]


def connect(url: str | None) -> Any:
    assert url
    return pika.BlockingConnection(pika.URLParameters(url))


def own_log_in(made: Installation, password_file: Path) -> pika.URLParameters:
    parameters = pika.URLParameters(made.broker_url)
    parameters.credentials = pika.PlainCredentials(USER, password_file.read_text().strip())
    return parameters


def taken(url: str | pika.URLParameters | None, queue: str = QUEUE) -> list[tuple[Any, bytes]]:
    """Properties and body of each message in a queue, which is empty then."""
    parameters = url if isinstance(url, pika.URLParameters) else pika.URLParameters(url)
    found: list[tuple[Any, bytes]] = []
    with closing(pika.BlockingConnection(parameters)) as connection:
        channel = connection.channel()
        while True:
            method, properties, body = channel.basic_get(queue, auto_ack=True)
            if method is None:
                return found
            found.append((properties, body))


def kept(made: Installation) -> int:
    return int(made.value("SELECT count(*) FROM intake.public_outbox"))


@over_the_broker
def test_for_nobody_nothing_is_published(made: Installation) -> None:
    with closing(connect(made.broker_url)) as connection:
        channel = connection.channel()
        channel.queue_declare("listener", exclusive=True)
        channel.queue_bind("listener", PUBLIC_EXCHANGE, "#")
        made.submit(made.citizen())
        made.relay("intake").run_once()
        assert kept(made) == 0
        assert public_relay(made).run_once() == 0
        assert channel.queue_declare("listener", passive=True).method.message_count == 0


@over_the_broker
def test_who_is_registered_gets_each_fact_once_and_their_sdk_reads_it(
    made: Installation, rabbitmq: RabbitNode, tmp_path: Path, printed: Printed
) -> None:
    made.submit(made.citizen())
    hand_on(made)
    password_file = register(made, tmp_path, "--service", "intake", "--json")
    assert printed() == {"user": USER, "queue": QUEUE, "password_file": str(password_file)}
    assert password_file.stat().st_mode & 0o777 == 0o600
    let_broker_know(made, rabbitmq, tmp_path)
    for _ in range(3):
        made.submit(made.citizen())
    hand_on(made)
    assert run(["subscribers", "list", "--json"]) == 0
    [line] = printed()["subscribers"]
    assert (line["messages"], line["services"], line["types"]) == (3, ["intake"], [])

    messages = taken(own_log_in(made, password_file))

    after = said(made)[1:]
    assert len(messages) == len(after) == 3
    ours = [
        from_binary(RabbitMQMessage(dict(properties.headers), properties.content_type, body), JSONFormat())
        for properties, body in messages
    ]
    assert [event.get_id() for event in ours] == [fact["id"] for fact in after]
    provide_tools()
    file = tmp_path / "messages.json"
    as_http = [
        {"headers": {**properties.headers, "content-type": properties.content_type}, "body": body.decode()}
        for properties, body in messages
    ]
    file.write_text(json.dumps(as_http), encoding="utf-8")
    read = [event for events in json.loads(run_node("cloudevents.mjs", file)) for event in events]
    for theirs, fact in zip(read, after, strict=True):
        assert {name: theirs[name] for name in fact if name != "time"} == {
            name: value for name, value in fact.items() if name != "time"
        }
    # What somebody of ours missed is said again, and is not new to them.
    made.change("UPDATE intake.outbox SET sent_at = NULL, again = true")
    hand_on(made)
    assert taken(made.broker_url) == []


@over_the_broker
def test_it_reads_its_own_queue_and_may_do_nothing_else(
    made: Installation, rabbitmq: RabbitNode, tmp_path: Path
) -> None:
    password_file = register(made, tmp_path, "--type", SUBMITTED)
    let_broker_know(made, rabbitmq, tmp_path)
    attempts: list[Callable[[Any], Any]] = [
        lambda channel: channel.basic_get(queue_name("notify")),
        lambda channel: channel.basic_get(topology.PARK_QUEUE),
        lambda channel: channel.queue_bind(QUEUE, EXCHANGE, "#"),
        lambda channel: channel.queue_bind(QUEUE, PUBLIC_EXCHANGE, "#"),
        lambda channel: channel.queue_delete(QUEUE),
        lambda channel: channel.queue_declare("another"),
        lambda channel: channel.exchange_delete(PUBLIC_EXCHANGE),
        lambda channel: (channel.confirm_delivery(), channel.basic_publish(PUBLIC_EXCHANGE, SUBMITTED, b"")),
        lambda channel: (channel.confirm_delivery(), channel.basic_publish(EXCHANGE, SUBMITTED, b"")),
        lambda channel: (channel.confirm_delivery(), channel.basic_publish("", queue_name("notify"), b"")),
    ]
    parameters = own_log_in(made, password_file)
    with ExitStack() as opened:
        connection, *_ = [
            opened.enter_context(closing(pika.BlockingConnection(parameters)))
            for _ in range(FOREIGN_LIMITS["max-connections"])
        ]
        with pytest.raises(AMQPConnectionError):
            pika.BlockingConnection(parameters)
        connection.channel().basic_get(QUEUE)
        for n, attempt in enumerate(attempts):
            with pytest.raises(ChannelClosedByBroker) as refused:
                attempt(connection.channel())
            assert refused.value.reply_code == 403, n
    parameters.credentials = pika.PlainCredentials(USER, "guessed")
    with pytest.raises(ProbableAuthenticationError):
        pika.BlockingConnection(parameters)
    with (
        create_engine(database_url(made.settings, app_role("intake"))).connect() as database,
        pytest.raises(ProgrammingError, match="permission denied"),
    ):
        database.execute(text("DELETE FROM onestop.public_subscribers"))


@over_the_broker
def test_who_is_removed_gets_nothing_more_and_leaves_nothing(
    made: Installation, rabbitmq: RabbitNode, tmp_path: Path
) -> None:
    register(made, tmp_path)
    let_broker_know(made, rabbitmq, tmp_path)
    made.submit(made.citizen())
    made.relay("intake").run_once()
    assert kept(made) == 1
    assert run(["subscribers", "add", NAME, "--service", "intake", "--password-file", "/nowhere"]) == 4

    assert run(["subscribers", "remove", NAME, "--yes"]) == 0

    # What was kept goes where nobody is bound, and nothing is kept any more.
    assert public_relay(made).run_once() == 1
    made.submit(made.citizen())
    made.relay("intake").run_once()
    assert kept(made) == 0
    with closing(connect(made.broker_url)) as connection, pytest.raises(ChannelClosedByBroker) as gone:
        connection.channel().queue_declare(QUEUE, passive=True)
    assert gone.value.reply_code == 404
    assert USER not in (made.settings.secrets_dir / BROKER / DEFINITIONS).read_text()
    assert run(["subscribers", "remove", NAME, "--yes"]) == 3


@over_the_broker
def test_who_does_not_read_holds_up_nobody_and_loses_its_oldest_facts(
    made: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(topology, "PUBLIC_FACTS", 3)
    register(made, tmp_path)
    for _ in range(8):
        made.submit(made.citizen())
    hand_on(made)
    assert kept(made) == 0
    ids = [properties.headers["ce-id"] for properties, _ in taken(made.broker_url)]
    assert ids == [fact["id"] for fact in said(made)[-3:]]
    ours = taken(made.broker_url, queue_name("materials"))
    assert sum(len(facts_in(p.headers, p.content_type, body)) for p, body in ours) == 8


@over_the_broker
def test_what_cannot_be_published_for_them_waits_apart(made: Installation, tmp_path: Path) -> None:
    register(made, tmp_path)
    with closing(connect(made.broker_url)) as connection:
        connection.channel().exchange_delete(PUBLIC_EXCHANGE)
    made.submit(made.citizen())
    made.relay("intake").run_once()
    assert len(taken(made.broker_url, queue_name("materials"))) == 1
    with pytest.raises(amqp.exceptions.NotFound):
        public_relay(made).run_once()
    assert kept(made) == 1
    assert run(["topology", "check"]) == 1
    assert run(["topology", "apply"]) == 0
    assert public_relay(made).run_once() == 1
    assert len(taken(made.broker_url)) == 1


@over_the_broker
@pytest.mark.parametrize(
    ("point", "copies"),
    [("outbox.sent.commit.after:1", 1), ("confirm.after:2", 2)],
    ids=["handed on to ours", "published and not marked"],
)
def test_a_death_loses_none(made: Installation, tmp_path: Path, point: str, copies: int) -> None:
    register(made, tmp_path)
    made.submit(made.citizen())
    dying = made.worker("intake", faults=f"{point}:kill")
    wait_for(lambda: dying.process.poll() is not None, f"the end at {point}", of=made)
    made.submit(made.citizen())
    heir = made.worker("intake")
    wait_for(lambda: not unpublished(made), "all published", of=made)
    assert heir.terminate() == 0, heir.output()[-3000:]
    ids = [properties.headers["ce-id"] for properties, _ in taken(made.broker_url)]
    assert list(dict.fromkeys(ids)) == [fact["id"] for fact in said(made)]
    assert len(ids) == copies + 1, "what comes twice bears the same id"


def unpublished(made: Installation) -> bool:
    unsent = "SELECT count(*) FROM intake.outbox WHERE sent_at IS NULL"
    return bool(made.value(f"SELECT ({unsent}) + count(*) FROM intake.public_outbox"))


def test_inside_the_database_there_are_no_foreign_subscribers(
    db_installation: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    give_commands_to(db_installation, tmp_path, monkeypatch)
    assert run(["subscribers", "add", NAME, "--service", "intake"]) == 2
    assert run(["subscribers", "list"]) == 2


@over_the_broker
@pytest.mark.parametrize(
    "arguments", [["Archive", "--service", "intake"], [NAME], [NAME, "--type", "x"], [NAME, "--service", "x"]]
)
def test_usage(made: Installation, arguments: list[str]) -> None:
    assert run(["subscribers", "add", *arguments]) == 2
