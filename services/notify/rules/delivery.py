"""How a delivery goes on after each answer of the outside world. Its state only moves forward.

Exactly once over somebody else's API is impossible. What holds: a claim is committed before the call; whatever
may have been taken is asked for, never blindly sent again; what stays unknown is shown to people.
"""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

MAX_ASKS = 6
MAX_SENDS = 8
BELIEVED_AFTER = 3
"""Providers' receipts lag behind their sending, so "we have nothing of it" is believed when said three times."""
_ASK_AFTER = (1.0, 2.0, 5.0, 15.0, 60.0, 300.0)
_SEND_AFTER = (1.0, 5.0, 30.0, 120.0, 600.0, 1800.0, 3600.0)


class DeliveryState(StrEnum):
    """planned -> claimed -> sent | failed | in_doubt; in_doubt -> sent | failed | planned (never taken)."""

    PLANNED = "planned"
    CLAIMED = "claimed"
    IN_DOUBT = "in_doubt"
    SENT = "sent"
    FAILED = "failed"


class Answer(StrEnum):
    """What is known after one call."""

    ACCEPTED = "accepted"
    """The provider has it."""
    REFUSED = "refused"
    """The provider will never take it."""
    NOT_SENT = "not_sent"
    """Nothing left us, or the provider said so: sending again is safe."""
    UNKNOWN = "unknown"
    """It may have been taken."""
    NEVER_TAKEN = "never_taken"
    """Asked by our key, the provider has nothing of it."""


@dataclass(frozen=True, slots=True)
class Next:
    """The next state, and when to act again (None: nothing more to do by ourselves)."""

    state: DeliveryState
    after: timedelta | None
    reason: str | None = None


def must_ask(state: DeliveryState) -> bool:
    """A claim left over by a dead process, or a doubt: ask before anything else."""
    return state in (DeliveryState.CLAIMED, DeliveryState.IN_DOUBT)


def after_answer(answer: Answer, *, sends: int, asks: int, reason: str | None, jitter: float) -> Next:
    """What follows. `sends` and `asks` count this one; `jitter` in 0.5..1.5 spreads repeats."""
    match answer:
        case Answer.ACCEPTED:
            return Next(DeliveryState.SENT, None)
        case Answer.REFUSED:
            return Next(DeliveryState.FAILED, None, reason)
        case Answer.NEVER_TAKEN if asks < BELIEVED_AFTER:
            return Next(DeliveryState.IN_DOUBT, _spread(_ASK_AFTER, asks, jitter), reason or "never-taken?")
        case Answer.NOT_SENT | Answer.NEVER_TAKEN:
            if sends >= MAX_SENDS:
                return Next(DeliveryState.FAILED, None, reason or "gave-up")
            return Next(DeliveryState.PLANNED, _spread(_SEND_AFTER, sends, jitter), reason)
        case Answer.UNKNOWN:
            if asks >= MAX_ASKS:
                return Next(DeliveryState.IN_DOUBT, None, reason or "in-doubt")
            return Next(DeliveryState.IN_DOUBT, _spread(_ASK_AFTER, asks, jitter), reason)


def _spread(steps: tuple[float, ...], count: int, jitter: float) -> timedelta:
    return timedelta(seconds=steps[min(max(count - 1, 0), len(steps) - 1)] * jitter)
