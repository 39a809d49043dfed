"""Named crash points, so that a test can stop a process exactly where it hurts.

Every commit, publish, confirm, ack and outside call passes one of these points before and after it is done.
In production the plan is empty and a point costs one dictionary look-up.

A plan is written `name:nth:kind`, joined by commas: `outbox.publish.after:2:kill` kills this process with
SIGKILL at the second pass of that point. Kinds: `kill`, `raise`. A `raise` at an `.after` point is the
"done but reported as failed" case.
"""

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass


class InjectedFault(Exception):
    """Raised by a planned fault of kind `raise`; never seen in production."""


@dataclass(slots=True)
class _Planned:
    remaining: int
    kind: str


_plan: dict[str, _Planned] = {}
_trace: Callable[[str], None] | None = None


def plan_faults(text: str) -> None:
    """Replace the plan of this process. Raises ValueError for a plan that cannot be read."""
    _plan.clear()
    for part in filter(None, text.split(",")):
        name, nth, kind = part.split(":")
        if kind not in ("kill", "raise"):
            raise ValueError(f"unknown fault kind {kind!r} in {part!r}: use kill or raise")
        _plan[name] = _Planned(int(nth), kind)


def trace_points(seen: Callable[[str], None] | None) -> None:
    """Call `seen` with the name of every point that is passed (tests list the points of a flow so)."""
    global _trace
    _trace = seen


def fault_point(name: str) -> None:
    """Pass the crash point `name`. Raises InjectedFault or kills the process when a test planned it."""
    if _trace is not None:
        _trace(name)
    planned = _plan.get(name)
    if planned is None:
        return
    planned.remaining -= 1
    if planned.remaining > 0:
        return
    del _plan[name]
    if planned.kind == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    raise InjectedFault(name)
