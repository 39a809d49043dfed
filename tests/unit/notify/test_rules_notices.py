"""Who is told, and by which channels."""

from uuid import UUID

from services.notify.rules.notices import NoticePlan, plan_notices
from shared.catalogue.matter import Notice
from shared.events.notify import IN_APP

APPLICANT, AGENT = UUID(int=1), UUID(int=2)
PEOPLE = {"applicant": str(APPLICANT), "agent": str(AGENT)}


def notice(*to: str) -> Notice:
    return Notice(fact="approval.case-decided", template="case-denied", to=to)


def test_the_inbox_and_every_channel_of_the_installation_once() -> None:
    assert plan_notices(notice("applicant"), PEOPLE, ["sms", "sms", IN_APP]) == (
        NoticePlan("case-denied", IN_APP, APPLICANT, "applicant"),
        NoticePlan("case-denied", "sms", APPLICANT, "applicant"),
    )


def test_an_agent_is_told_where_the_matter_says_so() -> None:
    assert plan_notices(notice("applicant", "agent"), PEOPLE, []) == (
        NoticePlan("case-denied", IN_APP, APPLICANT, "applicant"),
        NoticePlan("case-denied", IN_APP, AGENT, "agent"),
    )


def test_whoever_has_two_roles_is_told_once() -> None:
    both = {"applicant": str(APPLICANT), "householder": str(APPLICANT)}
    assert plan_notices(notice("applicant", "householder"), both, []) == (
        NoticePlan("case-denied", IN_APP, APPLICANT, "applicant"),
    )


def test_a_role_that_nobody_has_is_told_nothing() -> None:
    assert plan_notices(notice("agent"), {"applicant": str(APPLICANT)}, ["sms"]) == ()
