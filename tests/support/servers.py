"""The real servers that tests share: one PostgreSQL and one RabbitMQ a session, started at first use.

They are tied to this process by the kernel, so that even a SIGKILL of pytest leaves nothing running. Tests
that break servers start their own. Nothing here makes Python green: workers are processes of their own.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deploy.postgres import PostgresServer
from deploy.processes import free_port
from deploy.rabbitmq import RabbitNode
from deploy.secret_files import init_secrets
from shared.bus.topology import user_name
from shared.privacy.secret_files import MIGRATE

SMALL_DISK_MIB = 200
"""A new cluster and its log take about 80."""


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder that users of servers may walk through too: pytest's own are closed to others."""
    folder = Path(tempfile.mkdtemp(prefix="onestop-test-"))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def small_disk(folder: Path, mib: int = SMALL_DISK_MIB) -> Iterator[None]:
    """A file system of its own there, small enough to be filled; a new database has room by default."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={mib}m,mode=0711", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("only root may mount a file system that is small enough to be filled")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(ballast: Path) -> None:
    """Take all the space that is left on its disk."""
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(1 << 20))
        except OSError:
            return


def keep_declared(node: RabbitNode) -> None:
    """Have on disk what was declared so far, as a minute later it would be by itself.

    RabbitMQ confirms a declaration before its own database (mnesia) has written it, which it does within two
    seconds: a node killed meanwhile knows the queue no more. A test that kills one is about later deaths."""
    node.ctl("eval", "mnesia:sync_log().")


@pytest.fixture(scope="session")
def server_secrets() -> Iterator[Path]:
    """The secrets of every installation of the session: they share servers, and with them roles and users."""
    with tempfile.TemporaryDirectory(prefix="onestop-secrets-") as folder:
        init_secrets(Path(folder))
        yield Path(folder)


@contextmanager
def a_server(secrets_dir: Path) -> Iterator[PostgresServer]:
    """A running PostgreSQL, on its socket and on a port of 127.0.0.1."""
    with scratch_folder() as folder:
        server = PostgresServer(folder / "data", tcp_port=free_port(), secrets_dir=secrets_dir)
        server.start()
        try:
            yield server
        finally:
            server.stop()


@contextmanager
def a_node(secrets_dir: Path) -> Iterator[RabbitNode]:
    """A running RabbitMQ node."""
    with scratch_folder() as folder:
        node = RabbitNode(folder / "rabbitmq", secrets_dir)
        node.start()
        try:
            yield node
        finally:
            node.stop()


@pytest.fixture(scope="session")
def postgres(server_secrets: Path) -> Iterator[PostgresServer]:
    """A running PostgreSQL: on its socket (`host`, `port`) and on 127.0.0.1:`port`; its admin is that of
    `server_secrets`."""
    with a_server(server_secrets) as server:
        yield server


@pytest.fixture(scope="session")
def rabbitmq(server_secrets: Path) -> Iterator[RabbitNode]:
    """A running RabbitMQ node; who logs in at `admin_url` may publish in everybody's name."""
    with a_node(server_secrets) as node:
        node.ctl("set_user_tags", user_name(MIGRATE), "impersonator")
        yield node
