"""Where the demo's processes write: a file, so that the terminal shows people and cases."""

from collections import deque
from pathlib import Path

from deploy.output import say

_TAIL = 20


class DemoLog:
    """Takes log lines of the supervisor's processes into a file that begins anew with each demo.

    Best effort: a full disk ends no demo. The last lines are kept to be shown when one does not start.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._last: deque[str] = deque(maxlen=_TAIL)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("w", encoding="utf-8", buffering=1)

    def __call__(self, name: str, line: str) -> None:
        written = f"{name} | {line}"
        self._last.append(written)
        try:
            self._file.write(f"{written}\n")
        except OSError:
            # The next line tries again; the last ones are in memory.
            return

    def show_last(self) -> None:
        """The last lines, and where the others are: something did not go as it should."""
        say(*self._last, f"onestop demo: the whole log is {self.path}")
