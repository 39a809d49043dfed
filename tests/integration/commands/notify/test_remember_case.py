"""A new case: whom to tell, in which language, and that the application came."""

from uuid import UUID, uuid4

import pytest

from services.notify.commands import load_addressees, remember_case
from shared.events.notify import NoticeSent
from tests.support.commands import event_of, handle, new_number, row, rows, said, submitted
from tests.support.installation import Installation
from tests.support.notices import deliveries


@pytest.mark.parametrize("locale", ["zh-CN", "en"])
def test_the_applicant_is_told_in_their_language(made: Installation, locale: str) -> None:
    number, applicant = new_number(), uuid4()
    event = event_of(submitted(applicant, locale=locale), number)
    handle(made, "notify", load_addressees, remember_case, event)
    case = row(made, "notify.cases", number=number)
    assert (case.people, case.locale, case.matter_version) == ({"applicant": str(applicant)}, locale, 1)
    (message,) = rows(made, "notify.inbox_messages", recipient=applicant)
    assert number in message.body
    assert message.title.isascii() is (locale == "en")
    found = deliveries(made, number, "case-submitted")
    assert (found["inbox"].state, found["sms"].state) == ("sent", "planned")
    (fact,) = said(made, "notify", number)
    assert isinstance(fact, NoticeSent)
    assert (fact.template, fact.channel, fact.status) == ("case-submitted", "inbox", "sent")


def test_what_goes_outside_is_left_as_a_job_under_the_deliverys_own_key(made: Installation) -> None:
    number = new_number()
    handle(made, "notify", load_addressees, remember_case, event_of(submitted(uuid4()), number))
    job = row(made, "notify.jobs", case_no=number)
    delivery: UUID = deliveries(made, number, "case-submitted")["sms"].id
    assert (job.kind, job.key, job.state) == ("notify.send.sms", str(delivery), "due")
    assert job.payload == {"delivery": str(delivery)}


def test_the_agent_is_told_too(made: Installation) -> None:
    number, applicant, agent = new_number(), uuid4(), uuid4()
    event = event_of(submitted(applicant, holders={"applicant": applicant, "agent": agent}), number)
    handle(made, "notify", load_addressees, remember_case, event)
    for person in (applicant, agent):
        (message,) = rows(made, "notify.inbox_messages", recipient=person)
        assert number in message.body
    sent = [fact for fact in said(made, "notify", number) if isinstance(fact, NoticeSent)]
    assert [(fact.channel, fact.to) for fact in sent] == [("inbox", "applicant"), ("inbox", "agent")]
    jobs = rows(made, "notify.jobs", case_no=number)
    assert len({job.key for job in jobs}) == len(jobs) == 2
