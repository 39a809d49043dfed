"""Which channels a notice goes by."""

from services.notify.rules.notices import IN_APP, NoticePlan, plan_notices


def test_a_fact_without_a_template_tells_nobody() -> None:
    assert plan_notices(None, channels={"sms"}, muted=()) == ()


def test_the_inbox_and_every_channel_of_the_installation_once() -> None:
    assert plan_notices("case-denied", channels=["sms", "sms", IN_APP], muted=()) == (
        NoticePlan("case-denied", IN_APP),
        NoticePlan("case-denied", "sms"),
    )


def test_a_muted_channel_is_left_out_but_never_the_inbox() -> None:
    assert plan_notices("case-denied", channels={"sms"}, muted={"sms", IN_APP}) == (
        NoticePlan("case-denied", IN_APP),
    )
