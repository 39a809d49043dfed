"""Hints that something is there to do. Losing one costs at most one poll; none carries data.

A NOTIFY inside the writing transaction takes a global lock at commit (5,802 commits/s fell to 433), so it
goes out after the commit, on a connection of its own, at most once per 5 ms and process. Only a relay
notifies in its own transaction: it is one per service, and its commit is what the subscriber waits for.
"""

import os
import select
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import structlog
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from shared.db.outages import DatabaseAway
from shared.db.transaction import autocommit
from shared.describe import kind_of

_log = structlog.get_logger()
_SPACING_S = 0.005
_RECONNECT_S = 0.5


def outbox_hint(service: str) -> str:
    """The channel that says: `service` has facts to hand on."""
    return f"onestop_{service}_outbox"


def inbox_hint(service: str) -> str:
    """The channel that says: `service` has facts to handle."""
    return f"onestop_{service}_inbox"


def linger_hint(service: str) -> str:
    """The channel that says: `service` has facts that nobody waits for, and that may linger."""
    return f"onestop_{service}_linger"


def jobs_hint(service: str) -> str:
    """The channel that says: `service` has jobs due."""
    return f"onestop_{service}_jobs"


class Hints:
    """Sends hints from this process. A loop of the same process is woken directly, without the database."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._local: dict[str, Callable[[], None]] = {}
        self._pending: set[str] = set()
        self._lock = threading.Lock()
        self._rung = threading.Event()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def wake_locally(self, channel: str, wake: Callable[[], None]) -> None:
        """Have `wake` called at once when this process itself rings `channel`."""
        self._local[channel] = wake

    def ring(self, channel: str) -> None:
        """Hint that `channel` has something; returns at once, never raises."""
        wake = self._local.get(channel)
        if wake is not None:
            wake()
            return
        with self._lock:
            self._pending.add(channel)
            if self._thread is None:
                name = f"hints {self.engine.url.database}"
                self._thread = threading.Thread(target=self._send_forever, name=name, daemon=True)
                self._thread.start()
        self._rung.set()

    def close(self) -> None:
        """Stop sending; what is pending is found by the next poll."""
        self._stopped.set()
        self._rung.set()

    def _send_forever(self) -> None:
        while not self._stopped.is_set():
            try:
                with autocommit(self.engine) as connection:
                    while not self._stopped.is_set():
                        self._rung.wait()
                        self._rung.clear()
                        with self._lock:
                            channels, self._pending = sorted(self._pending), set()
                        if channels:
                            connection.execute(
                                text("SELECT pg_notify(c, '') FROM unnest(CAST(:c AS text[])) c"),
                                {"c": channels},
                            )
                        self._stopped.wait(_SPACING_S)
            except (DatabaseAway, DBAPIError) as error:
                _log.warning("hint_not_sent", error=kind_of(error))
                self._stopped.wait(_RECONNECT_S)


@dataclass(frozen=True, slots=True)
class Hearing:
    """How hints fare on the way to the database. `pooled`: something between us and PostgreSQL hands out its
    sessions; where it does so by transaction, hints are lost."""

    heard: bool
    pooled: bool


def try_hints(engine: Engine, within_s: float = 1.0) -> Hearing:
    """Give a hint to ourselves. Raises DatabaseAway."""
    channel = f"onestop_probe_{uuid4().hex}"
    with autocommit(engine) as listening, autocommit(engine) as ringing:
        raw: Any = listening.connection.driver_connection
        pooled = _is_pooled(listening)
        listening.execute(text(f"LISTEN {channel}"))
        ringing.execute(text("SELECT pg_notify(:channel, '')"), {"channel": channel})
        until = time.monotonic() + within_s
        while (left_s := until - time.monotonic()) > 0 and not raw.notifies:
            # Nothing is asked meanwhile: an answer could come over the session that listens.
            if select.select([raw.fileno()], [], [], left_s)[0]:
                raw.poll()
        return Hearing(any(notify.channel == channel for notify in raw.notifies), pooled)


def _is_pooled(connection: Connection) -> bool:
    """The session that answers is not the one that was greeted."""
    raw: Any = connection.connection.driver_connection
    greeted: int = raw.info.backend_pid
    answers: int = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
    return answers != greeted


class Listener:
    """Waits for hints from other processes and wakes the loops of this one."""

    def __init__(self, engine: Engine, wakes: dict[str, Callable[[], None]]) -> None:
        self._engine = engine
        self._wakes = wakes
        self._stopped = False
        self._stop_read, self._stop_write = os.pipe()

    def run(self) -> None:
        """Listen until `stop`. While the database is away the loops live on their polls."""
        while not self._stopped:
            try:
                with autocommit(self._engine) as connection:
                    raw: Any = connection.connection.driver_connection
                    for channel in self._wakes:
                        connection.execute(text(f"LISTEN {channel}"))
                    if _is_pooled(connection):
                        _log.warning("listens_through_a_pooler", next="onestop doctor")
                    for wake in self._wakes.values():
                        wake()
                    self._listen(raw)
            except (DatabaseAway, DBAPIError, OSError) as error:
                _log.warning("hints_not_heard", error=kind_of(error))
                select.select([self._stop_read], [], [], _RECONNECT_S)

    def stop(self) -> None:
        """End `run` at once."""
        self._stopped = True
        os.write(self._stop_write, b"x")

    def _listen(self, raw: Any) -> None:
        while not self._stopped:
            ready, _, _ = select.select([raw.fileno(), self._stop_read], [], [])
            if self._stop_read in ready:
                return
            raw.poll()
            for channel in {notify.channel for notify in raw.notifies}:
                self._wakes[channel]()
            raw.notifies.clear()
            if raw.closed:
                raise OSError("the listening connection is closed")
