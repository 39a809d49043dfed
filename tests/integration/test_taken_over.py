"""One service is taken over: somebody has all its files and its environment. What they cannot do.

They can do what the service itself does. They cannot read another one's rows, open what it sealed, speak or
ask in its name, log people in, or touch the broker beyond their own queue and keys.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pika
import pytest
from pika.exceptions import ChannelClosedByBroker, ProbableAuthenticationError
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError, ProgrammingError
from starlette.testclient import TestClient

from deploy.asks import MAY_ASK, SIGNER
from deploy.services import SERVICES, subscriptions
from deploy.web import build
from shared.auth.signatures import PublicKeys
from shared.auth.tokens import TokenInvalid, TokenReader
from shared.bus.topology import (
    EXCHANGE,
    PARK_EXCHANGE,
    PUBLIC_EXCHANGE,
    broker_url,
    public_name,
    queue_name,
    routing_pattern,
    user_name,
)
from shared.bus.wire import to_message
from shared.clock import read_clock
from shared.context import build_context
from shared.db.engine import database_url
from shared.db.roles import app_role
from shared.db.sealing import DataKeyTable
from shared.peers import peer_token
from shared.privacy.keys import VaultError
from shared.privacy.secret_files import (
    MASTER_KEY,
    MIGRATE,
    SERVICE_TOKEN,
    SecretUnusable,
    load_public_keys,
    load_secret,
)
from shared.privacy.vault import Vault
from shared.settings import Settings
from tests.integration.bus.history import BrokerLine, History, open_line, record_history
from tests.support.hall import doors
from tests.support.installation import Installation, make_installation, secrets_dir, template_settings
from tests.support.log_ins import tokens_of
from tests.support.principals import officer

__all__ = ["secrets_dir", "template_settings"]

OFFICER = replace(officer(), session=uuid4())


@pytest.fixture(scope="module")
def made(
    postgres: Any, rabbitmq: Any, template_settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    """An installation over a broker, with one case in it."""
    scratch = tmp_path_factory.mktemp("taken-over")
    with make_installation(postgres, template_settings, scratch, rabbitmq.url) as installation:
        installation.submit(installation.citizen())
        yield installation


@pytest.fixture(scope="module")
def internal(made: Installation) -> TestClient:
    """What the services ask one another."""
    return TestClient(build(made.settings, SERVICES).internal, raise_server_exceptions=False)


@dataclass(frozen=True, slots=True)
class TakenOver:
    """A service, and the settings of a machine on which nothing but its own files lie."""

    service: str
    settings: Settings

    @property
    def others(self) -> list[str]:
        return [service for service in SERVICES if service != self.service]

    def files(self) -> dict[str, str]:
        """Everything that lies there, by name."""
        return {path.name: path.read_text().strip() for path in self.settings.secrets_dir.rglob("*.*")}


@pytest.fixture(params=SERVICES)
def taken(made: Installation, tmp_path: Path, request: pytest.FixtureRequest) -> TakenOver:
    shutil.copytree(made.settings.secrets_dir / request.param, tmp_path / request.param)
    return TakenOver(request.param, made.settings.model_copy(update={"secrets_dir": tmp_path}))


def test_it_logs_in_at_the_database_as_nobody_else(taken: TakenOver, made: Installation) -> None:
    own = database_url(taken.settings, app_role(taken.service))
    with create_engine(own).connect() as connection:
        connection.execute(text(f"SELECT 1 FROM {taken.service}.cases LIMIT 0"))
        for other in taken.others:
            with pytest.raises(ProgrammingError, match="permission denied"):
                connection.execute(text(f"SELECT 1 FROM {other}.cases LIMIT 0"))
            connection.rollback()
            # Under which its facts will come.
            with pytest.raises(ProgrammingError, match="permission denied"):
                connection.execute(text(f"SELECT secret FROM {other}.id_secret"))
            connection.rollback()
    roles = [app_role(other) for other in taken.others] + [taken.settings.db.admin_user]
    for role in roles:
        with pytest.raises(SecretUnusable):
            database_url(taken.settings, role)
        for password in ("", *taken.files().values()):
            engine = create_engine(own.set(username=role, password=password))
            with pytest.raises(OperationalError, match="password"):
                engine.connect()


def test_it_hands_on_in_its_own_name_only(taken: TakenOver, made: Installation) -> None:
    heard_by = [one for one, speakers in subscriptions().items() if taken.service in speakers]
    fact = {"id": "018f5a2e-7c00-7000-8000-000000000001", "subject": "1", "sequence": "1", "type": "a"}
    with create_engine(database_url(taken.settings, app_role(taken.service))).connect() as connection:
        for subscriber in SERVICES:
            for source in (*(f"/onestop/{other}" for other in taken.others), None):
                body = {"received_at": "2026-11-23T00:00:00Z", "events": [{**fact, "source": source}]}
                with pytest.raises(ProgrammingError) as refused:
                    connection.execute(
                        text(f"SELECT {subscriber}.deliver(CAST(:body AS jsonb))"), {"body": json.dumps(body)}
                    )
                said = "speaks for itself" if subscriber in heard_by else "permission denied"
                assert said in str(refused.value)
                connection.rollback()


def test_it_opens_nothing_that_another_one_has_sealed(taken: TakenOver, made: Installation) -> None:
    own_key = load_secret(taken.settings, taken.service, MASTER_KEY)
    for other in taken.others:
        sealed = made.context(other).vault.seal("secret", table="t", row=1, column="c")
        with pytest.raises(SecretUnusable):
            build_context(taken.settings, other)
        # Even with the other one's wrapped keys at hand, from a copy of the database.
        vault = Vault(other, lambda: [own_key], DataKeyTable(made.context(other).engine))
        with pytest.raises(VaultError, match=r"not wrapped with this master\.key"):
            vault.open(sealed, table="t", row=1, column="c")


def test_it_asks_what_it_may_ask_and_nothing_else(taken: TakenOver, internal: TestClient) -> None:
    token = load_secret(taken.settings, taken.service, SERVICE_TOKEN)
    paths = {path for method, path in doors(internal.app) if method == "POST"}  # type: ignore[arg-type]
    for owner, questions in MAY_ASK.items():
        for question, askers in questions.items():
            path = f"/internal/v1/{owner}/{question}"
            paths.remove(path)
            status = internal.post(path, json={}, headers=_bearer(peer_token(token, owner))).status_code
            assert (status in (401, 403)) == (taken.service not in askers), (path, status)
            # What it shows to one owner opens no other one, nor does anything else that it has.
            shown = [peer_token(token, other) for other in SERVICES if other != owner]
            for wrong in (*shown, *taken.files().values()):
                if wrong.isascii() and wrong.isprintable():
                    assert internal.post(path, json={}, headers=_bearer(wrong)).status_code == 401, path
    assert paths == set()


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_only_intake_logs_people_in(taken: TakenOver, made: Installation) -> None:
    with made.admin.connect() as connection:
        now = read_clock(connection).wall
    reader = TokenReader(PublicKeys(load_public_keys(taken.settings, taken.service)), lambda: now)
    keys = {name: text for name, text in taken.files().items() if len(text) == 64}
    assert MASTER_KEY in keys
    for name, key in keys.items():
        forged = tokens_of(bytes.fromhex(key), lambda: now).issue(OFFICER, 600)
        if (taken.service, name) == (SIGNER, "session.key"):
            assert reader.verify(forged) == OFFICER
            continue
        with pytest.raises(TokenInvalid):
            reader.verify(forged)


def channel_of(url: str) -> Any:
    return pika.BlockingConnection(pika.URLParameters(url)).channel()


def test_it_logs_in_at_the_broker_as_nobody_else(taken: TakenOver) -> None:
    own = broker_url(taken.settings, taken.service)
    assert own
    channel_of(own).connection.close()
    for other in (*taken.others, MIGRATE):
        with pytest.raises(SecretUnusable):
            broker_url(taken.settings, other)
        for password in taken.files().values():
            parameters = pika.URLParameters(own)
            parameters.credentials = pika.PlainCredentials(user_name(other), password)
            with pytest.raises(ProbableAuthenticationError):
                pika.BlockingConnection(parameters)


Attempt = Callable[[Any, str], None]


def publish(exchange: str, key: str, user: str | None = None) -> Attempt:
    def attempt(channel: Any, _: str) -> None:
        channel.confirm_delivery()
        channel.basic_publish(exchange, key, b"{}", pika.BasicProperties(user_id=user))

    return attempt


def attempts_on(other: str, own: str) -> dict[str, Attempt]:
    """What the broker must refuse; `own` is who tries."""
    queue, key = queue_name(other), f"onestop.{other}.case-decided.v1"
    return {
        "publish under its keys": publish(EXCHANGE, key),
        "publish a batch under its keys": publish(EXCHANGE, f"onestop.{other}.batch.3"),
        "publish for outsiders under its keys": publish(PUBLIC_EXCHANGE, key),
        "publish in its name": publish(EXCHANGE, f"onestop.{own}.x.v1", user_name(other)),
        "publish into its queue": publish("", queue),
        "publish into its own queue": publish("", queue_name(own)),
        "publish to the park": publish(PARK_EXCHANGE, ""),
        "consume": lambda channel, _: channel.basic_consume(queue, lambda *a: None),
        "take one": lambda channel, _: channel.basic_get(queue),
        "purge": lambda channel, _: channel.queue_purge(queue),
        "delete": lambda channel, _: channel.queue_delete(queue),
        "delete its own": lambda channel, _: channel.queue_delete(queue_name(own)),
        "declare": lambda channel, _: channel.queue_declare("another", durable=True),
        "declare an exchange": lambda channel, _: channel.exchange_declare("another"),
        "delete the exchange": lambda channel, _: channel.exchange_delete(EXCHANGE),
        "unbind": lambda channel, _: channel.queue_unbind(queue, EXCHANGE, routing_pattern(own)),
        "bind its own queue to more": lambda channel, _: channel.queue_bind(queue_name(own), EXCHANGE, "#"),
        "read what outsiders get": lambda channel, _: channel.basic_get(public_name("archive")),
        "read the park": lambda channel, _: channel.basic_get("onestop.park"),
    }


def test_it_touches_nothing_at_the_broker_but_its_own_queue_and_keys(taken: TakenOver) -> None:
    own = broker_url(taken.settings, taken.service)
    assert own
    with closing(channel_of(own).connection) as connection:
        channel = connection.channel()
        publish(EXCHANGE, f"onestop.{taken.service}.unheard-of.v1", user_name(taken.service))(channel, "")
        channel.basic_get(queue_name(taken.service))
        for other in taken.others:
            for name, attempt in attempts_on(other, taken.service).items():
                with pytest.raises(ChannelClosedByBroker) as refused:
                    attempt(connection.channel(), other)
                code = 406 if name == "publish in its name" else 403
                assert refused.value.reply_code == code, (other, name, refused.value)


@pytest.fixture(scope="module")
def history(postgres: Any, template_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> History:
    with make_installation(postgres, template_settings, tmp_path_factory.mktemp("history"), None) as recorded:
        return record_history(recorded)


def test_what_slips_through_the_keys_of_a_copy_is_not_believed(made: Installation, history: History) -> None:
    """The keys in CC and BCC headers are checked by no broker before 4.0; the user-id always is."""
    [decided] = [fact for fact in history.facts if fact["type"] == "onestop.approval.case-decided.v1"]
    message = to_message(decided)
    url = broker_url(made.settings, "notify")
    assert url
    with open_line(made, "materials", made.inbox("materials")) as line:
        assert isinstance(line, BrokerLine)
        for header in ("CC", "BCC"):
            with closing(channel_of(url).connection) as connection:
                channel = connection.channel()
                channel.confirm_delivery()
                channel.basic_publish(
                    EXCHANGE,
                    "onestop.notify.notice-sent.v1",
                    message.body,
                    pika.BasicProperties(
                        message.content_type,
                        headers={**message.headers, header: [decided["type"]]},
                        delivery_mode=2,
                        user_id=user_name("notify"),
                    ),
                )
            line.sent += 1
        line.take()
    forged = "SELECT count(*) FROM materials.undecodable WHERE reason = :reason"
    assert made.value(forged, reason="forged: the user-id is not the speaker's") == 2
    assert made.value("SELECT count(*) FROM materials.certificates WHERE case_no IS NOT NULL") == 0
