"""No wait for the database is without end: a server that froze, and a network that swallows, say nothing.

PostgreSQL's own limits (lock_timeout, statement_timeout) are kept by the server and fail together with it.
libpq keeps `connect_timeout` only while it blocks, which it never does under eventlet. So the driver waits in
the function here, in threads and green threads alike, for as long as the connection says.
"""

import math
import select
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2
from psycopg2.extensions import POLL_OK, POLL_READ, connection, set_wait_callback
from sqlalchemy import Connection

IsReady = Callable[[int, bool, float], bool]
"""Waits until a file can be read (True) or written, at most so many seconds, and tells whether it can be."""


class NoAnswer(psycopg2.OperationalError):
    """The server said nothing for too long. The driver has closed the connection; what was asked may have
    been done."""


class NotReached(psycopg2.OperationalError):
    """There is no session to be had: nobody listens, answers, or lets us in."""


class BoundedConnection(connection):
    """Waits for each answer at most `answer_s` seconds."""

    answer_s: float = math.inf


def connections_within(connect_s: float, answer_s: float) -> type[BoundedConnection]:
    """A `connection_factory` for psycopg2: so many seconds for a connection, so many for an answer."""

    class Bounded(BoundedConnection):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            self.answer_s = connect_s
            super().__init__(*arguments, **options)
            self.answer_s = answer_s

    set_wait_callback(_wait)
    return Bounded


@contextmanager
def answering_within(asked: Connection, answer_s: float) -> Iterator[None]:
    """For this block the server has less time for each answer."""
    within = asked.connection.driver_connection
    if not isinstance(within, BoundedConnection):
        raise TypeError("only the engines of shared.db.engine have bounded connections")
    usual_s, within.answer_s = within.answer_s, answer_s
    try:
        yield
    finally:
        within.answer_s = usual_s


def wait_by(is_ready: IsReady) -> None:
    """Let every connection of this process wait by this: where green threads run, the standard library's
    own, made green, costs twice as much as their own."""
    global _is_ready
    _is_ready = is_ready


def said_something(idle: connection) -> bool:
    """Whether a server has spoken that was not asked, as it does when it ends a session; without a trip to
    it."""
    return bool(idle.closed) or _polled(idle.fileno(), True, 0.0)


def _wait(waiting: connection) -> None:
    until = time.monotonic() + getattr(waiting, "answer_s", math.inf)
    while (state := waiting.poll()) != POLL_OK:
        left_s = until - time.monotonic()
        if left_s <= 0 or not _is_ready(waiting.fileno(), state == POLL_READ, left_s):
            raise NoAnswer("no answer within the time for it")


def _polled(fd: int, to_read: bool, within_s: float) -> bool:
    timeout_s = None if within_s == math.inf else within_s
    # `select` cannot watch more than 1,024 files; eventlet, where that does not hold, has nothing else.
    if not hasattr(select, "poll"):
        return any(select.select([fd] if to_read else [], [] if to_read else [fd], [], timeout_s))
    watch = select.poll()
    watch.register(fd, select.POLLIN if to_read else select.POLLOUT)
    return bool(watch.poll(None if timeout_s is None else math.ceil(timeout_s * 1000)))


_is_ready: IsReady = _polled
