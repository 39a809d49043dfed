"""The states of a case in approval and the acts that lead from one to the next."""

from enum import StrEnum

from shared.errors import Conflict


class State(StrEnum):
    """Where a case stands."""

    SUBMITTED = "submitted"
    CORRECTION_REQUIRED = "correction_required"
    ACCEPTED = "accepted"
    UNDER_REVIEW = "under_review"
    SUSPENDED = "suspended"
    APPROVED = "approved"
    DENIED = "denied"
    ISSUING = "issuing"
    CLOSED = "closed"
    WITHDRAWN = "withdrawn"


class Act(StrEnum):
    """What is done to a case."""

    REQUIRE_CORRECTION = "require_correction"
    ACCEPT = "accept"
    START_REVIEW = "start_review"
    SUSPEND = "suspend"
    RESUME = "resume"
    APPROVE = "approve"
    DENY = "deny"
    START_ISSUING = "start_issuing"
    CLOSE = "close"
    WITHDRAW = "withdraw"


class WrongState(Conflict):
    """The act does not belong to the state that the case is in."""

    code = "case.wrong-state"
    title_zh = "办件当前状态不允许此操作"
    title_en = "The case is in a state that does not allow this"


# One correction notice only: all gaps are told at once, and a second notice is against 行政许可法 art. 32.
# An applicant may withdraw until the decision.
_NEXT: dict[State, dict[Act, State]] = {
    State.SUBMITTED: {
        Act.REQUIRE_CORRECTION: State.CORRECTION_REQUIRED,
        Act.ACCEPT: State.ACCEPTED,
        Act.WITHDRAW: State.WITHDRAWN,
    },
    State.CORRECTION_REQUIRED: {Act.ACCEPT: State.ACCEPTED, Act.WITHDRAW: State.WITHDRAWN},
    State.ACCEPTED: {Act.START_REVIEW: State.UNDER_REVIEW, Act.WITHDRAW: State.WITHDRAWN},
    State.UNDER_REVIEW: {
        Act.SUSPEND: State.SUSPENDED,
        Act.APPROVE: State.APPROVED,
        Act.DENY: State.DENIED,
        Act.WITHDRAW: State.WITHDRAWN,
    },
    State.SUSPENDED: {Act.RESUME: State.UNDER_REVIEW, Act.WITHDRAW: State.WITHDRAWN},
    State.APPROVED: {Act.START_ISSUING: State.ISSUING, Act.CLOSE: State.CLOSED},
    State.ISSUING: {Act.CLOSE: State.CLOSED},
    State.DENIED: {Act.CLOSE: State.CLOSED},
    State.WITHDRAWN: {},
    State.CLOSED: {},
}


def check_transition(state: State, act: Act) -> State:
    """The state after an act. Raises WrongState when the act does not belong to the state."""
    after = _NEXT[state].get(act)
    if after is None:
        raise WrongState(detail_en=f"{act} does not belong to {state}", members={"state": state, "act": act})
    return after
