"""The real servers that tests share: one PostgreSQL and one RabbitMQ a session, started at first use.

They are tied to this process by the kernel, so that even a SIGKILL of pytest leaves nothing running. Tests
that break servers start their own. Nothing here makes Python green: workers are processes of their own.
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deploy.postgres import PostgresServer
from deploy.processes import free_port
from deploy.rabbitmq import RabbitNode


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder that `nobody` may walk through too: pytest's own are closed to others."""
    folder = Path(tempfile.mkdtemp(prefix="onestop-test-"))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A running PostgreSQL: on its socket (`host`, `port`, no password) and on 127.0.0.1:`port`."""
    with scratch_folder() as folder:
        server = PostgresServer(folder / "data", tcp_port=free_port())
        server.start()
        try:
            yield server
        finally:
            server.stop()


@pytest.fixture(scope="session")
def rabbitmq() -> Iterator[RabbitNode]:
    """A running RabbitMQ node; `url` reaches it."""
    with scratch_folder() as folder:
        node = RabbitNode(folder / "rabbitmq")
        node.start()
        try:
            yield node
        finally:
            node.stop()
