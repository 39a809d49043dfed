"""A request that was only in somebody's way is run again instead of being refused.

PostgreSQL ends deadlocks and serialisation failures by letting one of the two start over. Here the whole
endpoint does: its transaction was rolled back, and what it did before is what a client repeats that sends the
same request again, as every 503 asks it to.
"""

import asyncio
import functools
import inspect
import random
import time
from collections.abc import Callable, Iterator
from typing import Any

import structlog

from shared.db.outages import DatabaseAway, Outage
from shared.describe import kind_of

_log = structlog.get_logger()
PAUSES_S = (0.0, 0.05, 0.1, 0.2)
"""Before the second run and each later one, give or take a half. PostgreSQL has waited a second by then."""
WITHIN_S = 5.0
"""Nobody who has waited so long is run again."""


def runs_again(endpoint: Callable[..., Any]) -> Callable[..., Any]:
    """The endpoint, run again after DatabaseAway if that is of use, with the same arguments; else it raises.

    An endpoint that reads a file reads it from its beginning.
    """
    if inspect.iscoroutinefunction(endpoint):

        @functools.wraps(endpoint)
        async def run_async(*arguments: Any, **named: Any) -> Any:
            runs = _Runs()
            while True:
                try:
                    return await endpoint(*arguments, **named)
                except DatabaseAway as error:
                    await asyncio.sleep(runs.pause_after(error))

        return run_async

    @functools.wraps(endpoint)
    def run(*arguments: Any, **named: Any) -> Any:
        runs = _Runs()
        while True:
            try:
                return endpoint(*arguments, **named)
            except DatabaseAway as error:
                time.sleep(runs.pause_after(error))

    return run


class _Runs:
    """How often one request may be run again, and after what pause."""

    def __init__(self) -> None:
        self._until = time.monotonic() + WITHIN_S
        self._pauses: Iterator[float] = iter(PAUSES_S)
        self._was_read_only = False

    def pause_after(self, error: DatabaseAway) -> float:
        """Seconds to wait before the next run; raises the error when there is none."""
        pause_s = next(self._pauses, None)
        if pause_s is None or time.monotonic() >= self._until or not self._is_of_use(error):
            raise error
        _log.info("request_runs_again", error=kind_of(error))
        return pause_s * (0.5 + random.random())

    def _is_of_use(self, error: DatabaseAway) -> bool:
        if error.outage is not Outage.READ_ONLY:
            return error.repeatable
        # It may have been a session of a read-only time that is over. The pool keeps none of those any more.
        again, self._was_read_only = not self._was_read_only, True
        return again
