"""What may die beside what in one process.

A fact that was there when its process died is handled alone, and parked at the third death: whatever else
runs beside it could be what kills the process, and have it blamed. So work takes part together, and what is
handled alone has the process to itself.
"""

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext


class Exclusion:
    """One per process. Whoever wants to be alone waits for the others to end, and new ones wait for it.

    `whole`: also for what handles no facts (jobs, timers). Where one service has the process to itself that
    may run on: its calls to the world would hold up every fact. None may be entered again by a thread that is
    in one of them.
    """

    def __init__(self, *, whole: bool = False) -> None:
        self._whole = whole
        self._changed = threading.Condition()
        self._together = 0
        self._waiting = 0
        self._is_alone = False

    @property
    def waiting(self) -> int:
        """How many wait to be alone."""
        return self._waiting

    @property
    def wants_rest(self) -> bool:
        """Somebody waits to be alone, for what is done aside as well: it had better take on nothing new."""
        return self._whole and self._waiting > 0

    @contextmanager
    def together(self) -> Iterator[None]:
        """Handling and handing on of facts."""
        with self._changed:
            self._changed.wait_for(lambda: not self._is_alone and not self._waiting)
            self._together += 1
        try:
            yield
        finally:
            with self._changed:
                self._together -= 1
                self._changed.notify_all()

    def aside(self) -> AbstractContextManager[None]:
        """Work that has nothing to do with facts on their way."""
        return self.together() if self._whole else nullcontext()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Handling of one fact, or a few, that nothing else of this process may be done beside."""
        with self._changed:
            self._waiting += 1
            self._changed.wait_for(lambda: not self._is_alone and not self._together)
            self._waiting -= 1
            self._is_alone = True
        try:
            yield
        finally:
            with self._changed:
                self._is_alone = False
                self._changed.notify_all()
