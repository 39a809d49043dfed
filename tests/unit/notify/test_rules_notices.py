"""Which channels a notice goes by."""

from services.notify.rules.notices import IN_APP, NoticePlan, plan_notices


def test_a_fact_without_a_template_tells_nobody() -> None:
    assert plan_notices(None, {"sms"}) == ()


def test_the_inbox_and_every_channel_of_the_installation_once() -> None:
    assert plan_notices("case-denied", ["sms", "sms", IN_APP]) == (
        NoticePlan("case-denied", IN_APP),
        NoticePlan("case-denied", "sms"),
    )
