"""The private RabbitMQ node: loopback only, keeps what it confirmed, ends with its parent."""

import stat
from collections.abc import Iterator
from pathlib import Path

import amqp
import pytest

from deploy import rabbitmq
from deploy.errors import AlreadyRunning, NotInstalled, NotStarted
from deploy.processes import is_alive, wait_until
from deploy.rabbitmq import RabbitNode
from tests.support.servers import keep_declared, scratch_folder
from tests.unit.deploy.orphans import pids_left_by

needs_rabbitmq = pytest.mark.skipif(
    not (rabbitmq.SCRIPTS / "rabbitmq-server").is_file(), reason="apt-get install -y rabbitmq-server"
)
_START_AND_DIE = """
import sys
from pathlib import Path
from deploy.rabbitmq import RabbitNode
node = RabbitNode(Path(sys.argv[1]), Path(sys.argv[2]))
node.start()
print(*node.pids)
"""
_LOOPBACK = {"0100007F", "00000000000000000000000001000000"}
_LISTENING = "0A"


@pytest.fixture(scope="module")
def node(server_secrets: Path) -> Iterator[RabbitNode]:
    """One started node for the module; a test that stops it starts it again."""
    with scratch_folder() as folder:
        node = RabbitNode(folder / "node", server_secrets)
        node.start()
        yield node
        node.stop()


def connect(node: RabbitNode, password: str | None = None) -> amqp.Connection:
    """An AMQP connection to the node."""
    user, given = node.admin_url.removeprefix("amqp://").split("@")[0].split(":")
    connection = amqp.Connection(
        host=f"127.0.0.1:{node.port}", userid=user, password=password or given, confirm_publish=True
    )
    connection.connect()
    return connection


def listening_addresses(pids: list[int]) -> set[str]:
    """The addresses, in the kernel's hexadecimal, that these processes listen on over TCP."""
    sockets = set()
    for pid in pids:
        for file in Path(f"/proc/{pid}/fd").iterdir():
            try:
                target = str(file.readlink())
            except FileNotFoundError:
                continue  # closed since we listed it
            if target.startswith("socket:["):
                sockets.add(target[8:-1])
    rows = [
        line.split()
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
    ]
    return {row[1].split(":")[0] for row in rows if row[3] == _LISTENING and row[9] in sockets}


@pytest.mark.broker
@needs_rabbitmq
class TestNode:
    def test_listens_on_loopback_only(self, node: RabbitNode) -> None:
        addresses = listening_addresses(node.pids)
        assert addresses
        assert addresses <= _LOOPBACK

    def test_there_is_no_guest_and_a_wrong_password_is_refused(self, node: RabbitNode) -> None:
        assert "guest" not in node.ctl("list_users")
        with pytest.raises((amqp.AccessRefused, OSError)):
            connect(node, password="wrong")

    def test_files_about_users_are_private(self, node: RabbitNode) -> None:
        assert stat.S_IMODE(node.data_dir.stat().st_mode) == 0o700
        modes = [
            stat.S_IMODE((node.data_dir / name).stat().st_mode)
            for name in ("definitions.json", "rabbitmq.conf")
        ]
        assert modes == [0o600, 0o600]

    def test_a_confirmed_message_outlives_a_kill_and_the_url_stays(self, node: RabbitNode) -> None:
        url = node.url
        with connect(node) as connection:
            channel = connection.channel()
            channel.queue_declare("kept", durable=True, auto_delete=False)
            # The bus is not under test here, so its publisher is not used.
            channel.basic_publish_confirm(amqp.Message("hello", delivery_mode=2), routing_key="kept")
        keep_declared(node)
        node.kill()
        node.start()
        assert node.url == url
        with connect(node) as connection:
            assert connection.channel().basic_get("kept", no_ack=True).body == "hello"

    def test_a_stop_leaves_neither_node_nor_epmd(self, node: RabbitNode) -> None:
        pids = node.pids
        node.stop()
        assert [pid for pid in pids if is_alive(pid)] == []
        with pytest.raises(NotStarted):
            node.ctl("status")
        node.start()

    def test_a_second_node_on_the_same_data_is_refused(
        self, node: RabbitNode, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(rabbitmq, "STOP_S", 0.2)
        with pytest.raises(AlreadyRunning):
            RabbitNode(node.data_dir, node.secrets_dir).start()
        assert wait_until(node.is_ready, 30)

    def test_nothing_outlives_a_killed_parent(self, scratch: Path, server_secrets: Path) -> None:
        pids, left = pids_left_by(_START_AND_DIE, str(scratch / "node"), str(server_secrets))
        assert len(pids) == 2
        assert left == []


def test_what_to_install_is_said_when_it_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rabbitmq, "SCRIPTS", tmp_path)
    with pytest.raises(NotInstalled, match="apt-get install -y rabbitmq-server"):
        RabbitNode(tmp_path / "node", tmp_path).start()


def test_a_port_that_a_dying_node_still_holds_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = RabbitNode(tmp_path / "node", tmp_path)
    url, answers = node.url, iter((False, False))
    monkeypatch.setattr(rabbitmq, "port_is_free", lambda port: next(answers, True))
    node.settle_ports()
    assert node.url == url


def test_a_port_that_somebody_took_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    node = RabbitNode(tmp_path / "node", tmp_path)
    taken = node.port
    monkeypatch.setattr(rabbitmq, "PORTS_S", 0.0)
    monkeypatch.setattr(rabbitmq, "port_is_free", lambda port: port != taken)
    node.settle_ports()
    assert node.port != taken
