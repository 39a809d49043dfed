"""Which act belongs to which state, and which step comes next."""

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.approval.rules.routing import next_step
from services.approval.rules.transitions import Act, State, WrongState, check_transition
from shared.catalogue.matter import Matter, Step

ALLOWED = {
    ("submitted", "require_correction"): "correction_required",
    ("submitted", "accept"): "accepted",
    ("correction_required", "accept"): "accepted",
    ("accepted", "start_review"): "under_review",
    ("under_review", "approve"): "approved",
    ("under_review", "deny"): "denied",
    ("approved", "start_issuing"): "issuing",
    ("approved", "close"): "closed",
    ("issuing", "close"): "closed",
    ("denied", "close"): "closed",
}


@pytest.mark.parametrize(("state", "act"), list(itertools.product(State, Act)))
def test_every_pair_of_state_and_act(state: State, act: Act) -> None:
    after = ALLOWED.get((state.value, act.value))
    if after is not None:
        assert check_transition(state, act) is State(after)
        return
    with pytest.raises(WrongState) as refused:
        check_transition(state, act)
    assert (refused.value.status, refused.value.code) == (409, "case.wrong-state")
    assert refused.value.members == {"state": state.value, "act": act.value}


@given(st.lists(st.sampled_from(Act), max_size=30))
def test_no_case_is_asked_twice_or_decided_twice(acts: list[Act]) -> None:
    state, done = State.SUBMITTED, []
    for act in acts:
        try:
            state = check_transition(state, act)
        except WrongState:
            continue
        done.append(act)
    assert done.count(Act.REQUIRE_CORRECTION) <= 1
    assert done.count(Act.APPROVE) + done.count(Act.DENY) <= 1
    assert state is not State.CLOSED or done[-1] is Act.CLOSE


def step(code: str, **more: Any) -> Step:
    base = {"names": {"zh": code, "en": code}, "department": "police", "queue": "police.hall"}
    return Step.model_validate({"code": code, **base, **more})


STEPS = (
    step("check"),
    step("site_visit", condition={"ground": ["home", "job"]}),
    step("decide", decides=True),
)


@pytest.mark.parametrize(
    ("facts", "passed", "expected"),
    [
        ({}, [], "check"),
        ({"ground": "home"}, ["check"], "site_visit"),
        ({"ground": "school"}, ["check"], "decide"),
        ({}, ["check"], "decide"),
        ({"ground": "job"}, ["site_visit", "check"], "decide"),
        ({"ground": "school"}, ["check", "decide"], None),
    ],
)
def test_next_step(facts: dict[str, Any], passed: list[str], expected: str | None) -> None:
    found = next_step(Matter.model_construct(code="test.matter", steps=STEPS), facts, passed)
    assert (found.code if found else None) == expected
