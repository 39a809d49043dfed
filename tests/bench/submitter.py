"""Submits single cases at a steady rate: python -m tests.bench.submitter RATE SECONDS."""

import sys
import time

from shared.bus.unit import unit_of
from shared.context import build_context
from shared.settings import Settings
from tests.bench.seed import MATTER, submit


def main(rate: int, seconds: int) -> None:
    """Each case in its own transaction, at its own moment; never catching up in bursts."""
    context = build_context(Settings(), "intake")
    matter = context.matters.latest(MATTER)
    due = time.monotonic()
    for n in range(rate * seconds):
        time.sleep(max(0.0, due - time.monotonic()))
        with unit_of(context, "bench.submit") as unit:
            submit(unit, matter, n)
        due = max(due + 1 / rate, time.monotonic())
    # The last hint is still on its way.
    time.sleep(0.1)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
