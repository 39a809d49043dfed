"""The states of a case in approval and the acts that lead from one to the next."""

from enum import StrEnum

from shared.errors import Conflict


class State(StrEnum):
    """Where a case stands."""

    SUBMITTED = "submitted"
    CORRECTION_REQUIRED = "correction_required"
    ACCEPTED = "accepted"
    UNDER_REVIEW = "under_review"
    APPROVED = "approved"
    DENIED = "denied"
    ISSUING = "issuing"
    CLOSED = "closed"


class Act(StrEnum):
    """What is done to a case."""

    REQUIRE_CORRECTION = "require_correction"
    ACCEPT = "accept"
    START_REVIEW = "start_review"
    APPROVE = "approve"
    DENY = "deny"
    START_ISSUING = "start_issuing"
    CLOSE = "close"


class WrongState(Conflict):
    """The act does not belong to the state that the case is in."""

    code = "case.wrong-state"
    title_zh = "办件当前状态不允许此操作"
    title_en = "The case is in a state that does not allow this"


# One correction notice only: all gaps are told at once, and a second notice is against 行政许可法 art. 32.
_NEXT: dict[State, dict[Act, State]] = {
    State.SUBMITTED: {Act.REQUIRE_CORRECTION: State.CORRECTION_REQUIRED, Act.ACCEPT: State.ACCEPTED},
    State.CORRECTION_REQUIRED: {Act.ACCEPT: State.ACCEPTED},
    State.ACCEPTED: {Act.START_REVIEW: State.UNDER_REVIEW},
    State.UNDER_REVIEW: {Act.APPROVE: State.APPROVED, Act.DENY: State.DENIED},
    State.APPROVED: {Act.START_ISSUING: State.ISSUING, Act.CLOSE: State.CLOSED},
    State.ISSUING: {Act.CLOSE: State.CLOSED},
    State.DENIED: {Act.CLOSE: State.CLOSED},
    State.CLOSED: {},
}


DECIDED = frozenset((State.APPROVED, State.DENIED, State.ISSUING, State.CLOSED))
"""What happens to a case's materials does not touch it any more."""


def check_transition(state: State, act: Act) -> State:
    """The state after an act. Raises WrongState when the act does not belong to the state."""
    after = _NEXT[state].get(act)
    if after is None:
        raise WrongState(detail_en=f"{act} does not belong to {state}", members={"state": state, "act": act})
    return after
