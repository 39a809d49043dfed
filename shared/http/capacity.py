"""Who is worked for now: so many requests at once, each in a thread with a session of the database's to
itself; the others wait in order, and not for long.

More threads than sessions only wait for one another: most of a thread's time went there, in no order, and
whoever had no luck was refused. So the number of both is one setting, and the waiting is done here, where it
costs neither. Whoever has waited for PATIENCE_S is refused, and so is the whole line at once when the
database cannot be reached: each would find that out by itself, one after the other.
"""

import asyncio
import functools
import inspect
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from enum import Enum, auto
from typing import Any, TypeVar

import anyio
import anyio.to_thread
from starlette.types import ASGIApp, Receive, Scope, Send

from shared import metrics
from shared.db.outages import RETRY_AFTER_S, is_unreachable
from shared.errors import Unavailable

PATIENCE_S = 5.0
"""Nobody waits longer for their turn."""
BUSY_RETRY_AFTER_S = 5
LINE_PER_TURN = 64
"""No longer line than this for each turn: it would outlast everybody's patience, and who hangs up stays in it
until it is their turn."""
_AS_MANY_AS_HAVE_A_TURN = anyio.CapacityLimiter(float("inf"))
Result = TypeVar("Result")


class _Standing(Enum):
    WAITS = auto()
    HAS_A_TURN = auto()
    SENT_AWAY = auto()


class _Place:
    """In the line, of a request in this loop. `standing` is changed under the lock of the capacity."""

    def __init__(self) -> None:
        self.standing = _Standing.WAITS
        self._loop = asyncio.get_running_loop()
        self._called = asyncio.Event()

    def call(self, standing: _Standing) -> None:
        """From whichever thread."""
        self.standing = standing
        self._loop.call_soon_threadsafe(self._called.set)

    async def wait(self, patience_s: float) -> None:
        """Raises TimeoutError."""
        async with asyncio.timeout(patience_s):
            await self._called.wait()


class Capacity:
    """`at_once` requests have a turn; the others stand in line for it, at most `patience_s` seconds."""

    def __init__(self, at_once: int, *, patience_s: float = PATIENCE_S) -> None:
        self._patience_s = patience_s
        self._free = at_once
        self._longest = LINE_PER_TURN * at_once
        self._line: deque[_Place] = deque()
        self._lock = threading.Lock()

    @property
    def waiting(self) -> int:
        """How many stand in line."""
        return len(self._line)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """A turn for the block, as soon as there is one. Raises Unavailable when there is none in time, when
        the line is too long, or when the database got lost meanwhile."""
        await self._wait()
        try:
            yield
        except Exception as error:
            if is_unreachable(error):
                self._send_all_away()
            raise
        finally:
            self._pass_on()

    async def _wait(self) -> None:
        with self._lock:
            if self._free:
                # Then nobody waits: whoever leaves hands the turn to the first in line.
                self._free -= 1
                return
            if len(self._line) >= self._longest:
                raise _busy()
            place = _Place()
            self._line.append(place)
        with metrics.HTTP_WAITING.track_inprogress():
            try:
                await place.wait(self._patience_s)
            except TimeoutError:
                if self._leave(place) is _Standing.WAITS:
                    raise _busy() from None
            except BaseException:
                if self._leave(place) is _Standing.HAS_A_TURN:
                    self._pass_on()
                raise
        if place.standing is _Standing.SENT_AWAY:
            metrics.HTTP_SENT_AWAY.labels("database").inc()
            raise Unavailable(retry_after_s=RETRY_AFTER_S)

    def _leave(self, place: _Place) -> _Standing:
        """The line; where the place had come to by then."""
        with self._lock:
            if place.standing is _Standing.WAITS:
                self._line.remove(place)
            return place.standing

    def _pass_on(self) -> None:
        with self._lock:
            if self._line:
                self._line.popleft().call(_Standing.HAS_A_TURN)
            else:
                self._free += 1

    def _send_all_away(self) -> None:
        with self._lock:
            while self._line:
                self._line.popleft().call(_Standing.SENT_AWAY)


def _busy() -> Unavailable:
    metrics.HTTP_SENT_AWAY.labels("busy").inc()
    return Unavailable(
        "现在办理的人较多，请稍后原样再提交一次。",
        "Many people are here at the moment; send the same again shortly.",
        retry_after_s=BUSY_RETRY_AFTER_S,
    )


_of_this_app: ContextVar[Capacity] = ContextVar("capacity")


class CapacityMiddleware:
    """Pure ASGI: says which capacity the requests of an app share."""

    def __init__(self, app: ASGIApp, *, capacity: Capacity) -> None:
        self._app = app
        self._capacity = capacity

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        token = _of_this_app.set(self._capacity)
        try:
            await self._app(scope, receive, send)
        finally:
            _of_this_app.reset(token)


async def in_thread(work: Callable[[], Result]) -> Result:
    """Do what waits for the database, in a thread, when it is the turn of this request; for nothing that
    itself asks for a turn.

    Raises Unavailable, as `Capacity.turn` does, and what the work raises.
    """
    async with _of_this_app.get().turn():
        return await anyio.to_thread.run_sync(work, limiter=_AS_MANY_AS_HAVE_A_TURN)


_WITH_OTHERS = Capacity(8)


async def with_others(work: Callable[[], Result]) -> Result:
    """Do what waits for a server that is not ours, in a thread and without a turn of this app: as long as it
    hangs, only those stand still who need it.

    Raises Unavailable when many of them do, and what the work raises.
    """
    async with _WITH_OTHERS.turn():
        return await anyio.to_thread.run_sync(work, limiter=_AS_MANY_AS_HAVE_A_TURN)


def waits_for_its_turn(endpoint: Callable[..., Any]) -> Callable[..., Any]:
    """An endpoint that is no coroutine, run by `in_thread`; those that are ask for their turn themselves."""
    if inspect.iscoroutinefunction(endpoint):
        return endpoint

    @functools.wraps(endpoint)
    async def run(*arguments: Any, **named: Any) -> Any:
        return await in_thread(functools.partial(endpoint, *arguments, **named))

    return run
