"""A delivery only moves forward; what may have been taken is never sent again before it was asked for."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.notify.rules.delivery import (
    BELIEVED_AFTER,
    MAX_ASKS,
    MAX_SENDS,
    SETTLED,
    DeliveryState,
    SendResult,
    after_answer,
    must_ask,
)

JITTER = st.floats(min_value=0.5, max_value=1.5)
ANSWERS = st.lists(st.tuples(st.sampled_from(SendResult), JITTER), min_size=1, max_size=40)


def test_what_the_provider_has_is_sent_and_nothing_more_happens() -> None:
    then = after_answer(SendResult.ACCEPTED, sends=1, asks=0, reason=None, jitter=1.0)
    assert (then.state, then.after) == (DeliveryState.SENT, None)


def test_what_the_provider_refuses_has_failed_with_its_reason() -> None:
    then = after_answer(SendResult.REFUSED, sends=1, asks=0, reason="isv.MOBILE_NUMBER_ILLEGAL", jitter=1.0)
    assert (then.state, then.after, then.reason) == (DeliveryState.FAILED, None, "isv.MOBILE_NUMBER_ILLEGAL")


def test_whoever_cannot_be_reached_so_is_no_failure() -> None:
    then = after_answer(SendResult.NO_CONTACT, sends=1, asks=0, reason="no-contact", jitter=1.0)
    assert (then.state, then.after, then.reason) == (DeliveryState.NO_CONTACT, None, None)


def test_what_never_left_us_is_planned_again_until_we_give_up() -> None:
    again = after_answer(SendResult.NOT_SENT, sends=MAX_SENDS - 1, asks=0, reason=None, jitter=1.0)
    assert again.state is DeliveryState.PLANNED
    assert again.after is not None
    last = after_answer(SendResult.NOT_SENT, sends=MAX_SENDS, asks=0, reason="http-429", jitter=1.0)
    assert (last.state, last.after, last.reason) == (DeliveryState.FAILED, None, "http-429")


@given(JITTER)
def test_the_providers_wish_to_wait_is_kept(jitter: float) -> None:
    then = after_answer(SendResult.NOT_SENT, sends=1, asks=0, reason=None, jitter=jitter, retry_after_s=90)
    assert then.after is not None
    assert then.after >= timedelta(seconds=90)


def test_a_provider_cannot_put_us_off_for_ever() -> None:
    then = after_answer(SendResult.NOT_SENT, sends=1, asks=0, reason=None, jitter=1.5, retry_after_s=1e9)
    assert then.after is not None
    assert then.after <= timedelta(days=2)


def test_a_doubt_is_asked_for_until_people_must_look() -> None:
    first = after_answer(SendResult.UNKNOWN, sends=1, asks=1, reason="read-timeout", jitter=0.5)
    assert (first.state, first.after) == (DeliveryState.IN_DOUBT, timedelta(seconds=1))
    last = after_answer(SendResult.UNKNOWN, sends=1, asks=MAX_ASKS, reason="read-timeout", jitter=1.0)
    assert (last.state, last.after, last.reason) == (DeliveryState.IN_DOUBT, None, "read-timeout")


@given(st.lists(JITTER, min_size=BELIEVED_AFTER, max_size=BELIEVED_AFTER))
def test_no_denial_is_believed_while_the_request_may_still_be_on_its_way(jitters: list[float]) -> None:
    waited = timedelta(0)
    then = after_answer(SendResult.UNKNOWN, sends=1, asks=1, reason="read-timeout", jitter=jitters[0])
    for asks, jitter in enumerate(jitters[1:], start=2):
        assert then.state is DeliveryState.IN_DOUBT
        assert then.after is not None
        waited += then.after
        then = after_answer(SendResult.NEVER_TAKEN, sends=1, asks=asks, reason=None, jitter=jitter)
    assert then.state is DeliveryState.PLANNED
    assert waited >= timedelta(seconds=45)


@pytest.mark.parametrize("state", DeliveryState)
def test_a_leftover_claim_and_a_doubt_are_asked_for_and_nothing_else_is(state: DeliveryState) -> None:
    assert must_ask(state) == (state in (DeliveryState.CLAIMED, DeliveryState.IN_DOUBT))


@given(ANSWERS)
def test_after_a_doubt_only_enough_denials_lead_back_to_sending(
    answers: list[tuple[SendResult, float]],
) -> None:
    state, asks, denied, sends = DeliveryState.PLANNED, 0, 0, 0
    for answer, jitter in answers:
        asking = must_ask(state)
        if not asking:
            sends, denied = sends + 1, 0
        asks += answer in (SendResult.UNKNOWN, SendResult.NEVER_TAKEN)
        denied += asking and answer is SendResult.NEVER_TAKEN
        then = after_answer(answer, sends=sends, asks=asks, reason="x", jitter=jitter)
        if asking and then.state is DeliveryState.PLANNED:
            assert answer in (SendResult.NEVER_TAKEN, SendResult.NOT_SENT)
        if answer is SendResult.UNKNOWN:
            assert then.state is DeliveryState.IN_DOUBT
        assert (then.after is None) == (then.state in SETTLED or asks >= MAX_ASKS)
        if then.after is None:
            return
        state = then.state
        asks = 0 if state is DeliveryState.PLANNED else asks
