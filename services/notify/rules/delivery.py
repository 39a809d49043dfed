"""How a delivery goes on after each answer of the outside world. Its state only moves forward.

Exactly once over somebody else's API is impossible. What holds: a claim is committed before the call;
whatever may have been taken is asked for, never blindly sent again; what stays unknown is shown to people.
"""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

MAX_ASKS = 12
MAX_SENDS = 24
BELIEVED_AFTER = 5
"""The time-out counts as the first doubt; four times "we have nothing of it" after it are believed. What we
stopped waiting for may still be taken within 45 s, so no denial is believed before."""
RESTORED = "restored"
"""Why a delivery is in doubt that was planned before the database was brought back from a copy."""
_ASK_AFTER = (1.0, 3.0, 8.0, 33.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0)
_SEND_AFTER = (1.0, 5.0, 30.0, 120.0, 600.0, 1800.0, 3600.0)
_LONGEST_WAIT = 24 * 3600.0


class DeliveryState(StrEnum):
    """planned -> claimed -> sent | failed | in_doubt; in_doubt -> sent | failed | planned (never taken).

    planned -> no_contact where the person cannot be reached so, planned -> withheld where whoever holds the
    number wants no more, or has been told enough of what is not theirs: nobody is told, and nothing is wrong.
    """

    PLANNED = "planned"
    CLAIMED = "claimed"
    IN_DOUBT = "in_doubt"
    SENT = "sent"
    FAILED = "failed"
    NO_CONTACT = "no_contact"
    WITHHELD = "withheld"


UNSAID = frozenset((DeliveryState.NO_CONTACT, DeliveryState.WITHHELD))
"""Of these no fact is said: it would tell others whether somebody can be reached, and what they want."""
SETTLED = UNSAID | {DeliveryState.SENT, DeliveryState.FAILED}
"""Nothing changes a delivery any more once it is here."""


class SendResult(StrEnum):
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
    NO_CONTACT = "no_contact"
    """The person has given nothing to reach them by."""
    WITHHELD = "withheld"
    """Intake gives out no contact for this message."""


@dataclass(frozen=True, slots=True)
class Next:
    """The next state, and when to act again (None: nothing more to do by ourselves)."""

    state: DeliveryState
    after: timedelta | None
    reason: str | None = None


def must_ask(state: DeliveryState) -> bool:
    """A claim left over by a dead process, or a doubt: ask before anything else."""
    return state in (DeliveryState.CLAIMED, DeliveryState.IN_DOUBT)


def after_answer(
    answer: SendResult,
    *,
    sends: int,
    asks: int,
    reason: str | None,
    jitter: float,
    retry_after_s: float = 0.0,
) -> Next:
    """What follows. `sends` and `asks` count this one.

    `jitter`, evenly spread over 0.5..1.5, makes a wait one to two times its step, so that many deliveries do
    not come back at once and none comes back early. `retry_after_s` is the provider's own wish.
    """
    match answer:
        case SendResult.ACCEPTED:
            return Next(DeliveryState.SENT, None)
        case SendResult.REFUSED:
            return Next(DeliveryState.FAILED, None, reason)
        case SendResult.NO_CONTACT:
            return Next(DeliveryState.NO_CONTACT, None)
        case SendResult.WITHHELD:
            return Next(DeliveryState.WITHHELD, None, reason)
        case SendResult.NEVER_TAKEN if asks < BELIEVED_AFTER:
            return Next(DeliveryState.IN_DOUBT, _spread(_ASK_AFTER, asks, jitter), reason or "never-taken")
        case SendResult.NOT_SENT | SendResult.NEVER_TAKEN:
            if sends >= MAX_SENDS:
                return Next(DeliveryState.FAILED, None, reason or "gave-up")
            return Next(DeliveryState.PLANNED, _spread(_SEND_AFTER, sends, jitter, retry_after_s), reason)
        case SendResult.UNKNOWN:
            if asks >= MAX_ASKS:
                return Next(DeliveryState.IN_DOUBT, None, reason or "in-doubt")
            return Next(DeliveryState.IN_DOUBT, _spread(_ASK_AFTER, asks, jitter, retry_after_s), reason)


def _spread(steps: tuple[float, ...], count: int, jitter: float, at_least_s: float = 0.0) -> timedelta:
    step = max(steps[min(max(count - 1, 0), len(steps) - 1)], min(at_least_s, _LONGEST_WAIT))
    return timedelta(seconds=step * (0.5 + jitter))
