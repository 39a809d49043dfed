"""A worker process for tests: `python -m tests.support.worker_main <poison> <service> ...`.

`poison` is the id of a fact that kills the process in the midst of notify's command, or `none`.
"""

import os
import signal
import sys

from deploy import worker  # before all else: it patches the standard library

from services.notify import commands  # isort: skip
from services.notify.commands import Addressees  # isort: skip
from shared.bus.unit import Unit  # isort: skip
from shared.events.fact import Event  # isort: skip
from shared.settings import Settings  # isort: skip


def poisoned(poison: str) -> None:
    """Let one fact kill this process."""
    tell = commands.tell

    def tell_or_die(unit: Unit, event: Event, loaded: Addressees) -> None:
        tell(unit, event, loaded)
        if str(event.id) == poison:
            os.kill(os.getpid(), signal.SIGKILL)

    commands.tell = tell_or_die


if __name__ == "__main__":
    poisoned(sys.argv[1])
    sys.exit(worker.run(Settings(), sys.argv[2:]))
