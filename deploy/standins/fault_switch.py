"""Which misfortune befalls the next request of a stand-in: for the next N, or by chance with a seed."""

import random
import threading
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Kind(StrEnum):
    """What can go wrong. `*_before` comes before the message is taken, `*_after` when it is in the ledger."""

    SLOW = "slow"
    """Wait `seconds`, then go on: who gave up waiting is served all the same."""
    ERROR_BEFORE = "error_before"
    ERROR_AFTER = "error_after"
    RESET_BEFORE = "reset_before"
    RESET_AFTER = "reset_after"
    GARBAGE_BEFORE = "garbage_before"
    GARBAGE_AFTER = "garbage_after"
    LIMIT = "limit"
    """The gateway's own code for "too often"."""
    THROTTLE = "throttle"
    """HTTP 429 with Retry-After `seconds`."""
    REFUSE = "refuse"
    """Nobody listens for `seconds`, this request included: it is reset untaken."""
    LIE = "lie"
    """A receipt that says `says`, whatever is true."""


class Door(StrEnum):
    """Which requests a fault is for."""

    SEND = "SendSms"
    RECEIPT = "QuerySendDetails"


class Garbage(StrEnum):
    """What stands where JSON should be."""

    HTML = "html"
    HALF = "half"
    EMPTY = "empty"
    LIST = "list"
    NO_REFERENCE = "no_reference"
    """Code OK without a BizId."""
    ENDLESS = "endless"
    """More than anybody should read."""
    DRIPPING = "dripping"
    """A byte now and then, for `seconds`."""


class Lie(StrEnum):
    """What a lying receipt says."""

    FAILED = "failed"
    MISSING = "missing"
    WAITING = "waiting"


class Fault(BaseModel):
    """One misfortune: for the `next` N requests of its door, or for each with a `probability`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Kind
    door: Door = Door.SEND
    next: Annotated[int, Field(ge=1)] | None = None
    probability: Annotated[float, Field(gt=0, le=1)] | None = None
    seconds: Annotated[float, Field(ge=0, le=600)] = 1.0
    garbage: Garbage = Garbage.HTML
    says: Lie = Lie.MISSING

    @model_validator(mode="after")
    def _either_next_or_probability(self) -> "Fault":
        if (self.next is None) == (self.probability is None):
            raise ValueError("give either next or probability")
        if (self.kind is Kind.LIE) and self.door is not Door.RECEIPT:
            raise ValueError("only a receipt can lie: door must be QuerySendDetails")
        return self


class Plan(BaseModel):
    """Everything that is to go wrong from now on; the first fault that applies wins."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    faults: list[Fault] = []
    seed: int = 0


class FaultSwitch:
    """Holds the plan. The same plan, seed and order of requests bring the same faults."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._met: dict[Kind, int] = {}
        self._plan = Plan()
        self._left: list[int | None] = []
        self._chance = random.Random(0)

    def set(self, plan: Plan) -> None:
        """Replace the plan."""
        with self._lock:
            self._plan = plan
            self._left = [fault.next for fault in plan.faults]
            self._chance = random.Random(plan.seed)

    def meet(self, door: Door) -> Fault | None:
        """The fault that befalls this request, if any."""
        with self._lock:
            for index, fault in enumerate(self._plan.faults):
                if fault.door is door and self._applies(index, fault):
                    self._met[fault.kind] = self._met.get(fault.kind, 0) + 1
                    return fault
        return None

    def met(self) -> dict[str, int]:
        """How many requests met each kind so far."""
        with self._lock:
            return {kind.value: count for kind, count in self._met.items()}

    def plan(self) -> tuple[Plan, Sequence[int | None]]:
        """The plan, and how many requests each of its faults is still for."""
        with self._lock:
            return self._plan, tuple(self._left)

    def _applies(self, index: int, fault: Fault) -> bool:
        left = self._left[index]
        if left is None:
            return self._chance.random() < (fault.probability or 0.0)
        if left == 0:
            return False
        self._left[index] = left - 1
        return True
