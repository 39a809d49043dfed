"""The job that issues certificates asks approval first, and takes nobody else's word for a decision."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from deploy.trouble import tally_all
from services.approval.commands import StepResult
from services.approval.web import MOST_STANDINGS
from services.materials.issuing import IssueCertificates
from shared import faults
from shared.ask import Params, PeerUnavailable
from shared.bus.jobs import JobRunner
from shared.bus.unit import unit_of
from shared.errors import BadRequest
from shared.faults import InjectedFault
from tests.support.installation import (
    Installation,
    db_installation,
    secrets_dir,
    settle,
    template_settings,
)
from tests.support.trouble import retry, trouble_of

__all__ = ["db_installation", "secrets_dir", "template_settings"]


@dataclass
class Issuing:
    """Materials' runner of jobs, and what it asked approval. `away`: approval does not answer."""

    installation: Installation
    runner: JobRunner
    away: bool = False
    asked: list[list[str]] = field(default_factory=list)

    def run(self) -> int:
        """Let every wait be over, and run what is due."""
        self.installation.change(
            "UPDATE materials.jobs SET due_at = due_at - interval '1 day', "
            "lease_until = lease_until - interval '1 day'"
        )
        return self.runner.run_once()

    def jobs(self) -> list[tuple[Any, ...]]:
        rows = self.installation.rows("SELECT state, attempts, reason FROM materials.jobs ORDER BY id")
        return [tuple(row) for row in rows]

    def certificates(self) -> list[str]:
        """The cases that have one."""
        found = "SELECT case_no FROM materials.certificates WHERE case_no IS NOT NULL ORDER BY id"
        return [row.case_no for row in self.installation.rows(found)]

    def issued(self) -> list[str]:
        """The cases of which it was said."""
        said = "SELECT case_no FROM materials.outbox WHERE event->>'type' LIKE '%certificate-issued%'"
        return [row.case_no for row in self.installation.rows(said)]


@pytest.fixture
def issuing(db_installation: Installation) -> Iterator[Issuing]:
    with db_installation.job_runner("materials") as runner:
        made = Issuing(db_installation, runner)
        db_installation.context("approval")
        answers = db_installation.answers["approval"]
        usual = answers["standings"]

        def asked(params: Params) -> Params:
            made.asked.append(params["cases"])
            if made.away:
                raise PeerUnavailable
            return usual(params)

        answers["standings"] = asked
        yield made


def reviewed(made: Installation, count: int = 1) -> list[str]:
    """Cases before their decision; their first steps are passed."""
    who = made.citizen()
    numbers = [made.submit(who).number for _ in range(count)]
    made.pump()
    for number in numbers:
        made.work_task(number)
    made.pump()
    return numbers


def hear(made: Installation) -> None:
    """Materials hears what approval said."""
    made.relay("approval").run_once()
    settle(made, "materials", made.inbox("materials"))


def order(made: Installation, number: str) -> None:
    """The job, as an approval that was heard leaves it."""
    with unit_of(made.context("materials"), "test.order") as unit:
        unit.later("materials.issue", number, {}, case=number)


def test_many_cases_go_into_one_question(issuing: Issuing) -> None:
    made = issuing.installation
    numbers = reviewed(made, 12)
    for number in numbers:
        made.decide(number)
    hear(made)
    assert issuing.certificates() == []

    assert issuing.run() == 12

    assert [sorted(cases) for cases in issuing.asked] == [sorted(numbers)]
    assert sorted(issuing.certificates()) == sorted(issuing.issued()) == sorted(numbers)
    assert issuing.jobs() == [("done", 1, None)] * 12
    made.pump()
    closed = made.value("SELECT count(*) FROM intake.cases WHERE outcome = 'approved' AND closed_at <= now()")
    assert closed == 12


def test_a_question_holds_as_many_cases_as_approval_answers_for(issuing: Issuing) -> None:
    asker = issuing.installation.context("materials").asker
    assert IssueCertificates.together == MOST_STANDINGS
    asker.ask("approval", "standings", {"cases": ["x"] * MOST_STANDINGS})
    with pytest.raises(BadRequest):
        asker.ask("approval", "standings", {"cases": ["x"] * (MOST_STANDINGS + 1)})


def test_what_it_says_follows_from_the_decision(issuing: Issuing) -> None:
    made = issuing.installation
    (number,) = reviewed(made)
    made.decide(number)
    hear(made)
    issuing.run()
    (decided,) = of_type(made, "approval", "case-decided")
    (issued,) = of_type(made, "materials", "certificate-issued")
    assert issued["causationid"] == decided["id"]
    assert issued["correlationid"] == decided["correlationid"]


def of_type(made: Installation, service: str, name: str) -> Sequence[dict[str, Any]]:
    found = f"SELECT event FROM {service}.outbox WHERE event->>'type' LIKE :type"
    return [row.event for row in made.rows(found, type=f"%{name}%")]


def test_while_approval_is_away_the_job_waits_and_no_attempt_counts(issuing: Issuing) -> None:
    made = issuing.installation
    (number,) = reviewed(made)
    made.decide(number)
    hear(made)
    issuing.away = True
    for _ in range(15):
        assert issuing.run() == 1
    assert issuing.jobs() == [("due", 0, PeerUnavailable.code)]
    assert made.value("SELECT due_at > now() FROM materials.jobs")
    assert trouble_of(made.context("materials")) == []

    issuing.away = False
    assert issuing.run() == 1
    assert issuing.certificates() == issuing.issued() == [number]


def decided_otherwise(made: Installation, how: str) -> str:
    """A case of which approval does not say that its certificate was granted."""
    (number,) = reviewed(made)
    match how:
        case "unknown-case":
            made.change("DELETE FROM approval.cases WHERE number = :n", n=number)
        case "denied":
            made.decide(number, StepResult.DENIED)
        case "other-result":
            made.decide(number)
            made.change("UPDATE approval.cases SET matter_version = 2 WHERE number = :n", n=number)
            made.change(
                "INSERT INTO onestop.matters SELECT (jsonb_populate_record(m, '{\"version\": 2}')).* "
                "FROM onestop.matters AS m"
            )
    return number


@pytest.mark.parametrize("how", ["unknown-case", "not-decided", "denied", "other-result"])
def test_where_approval_says_otherwise_the_job_fails_at_once_for_people_to_see(
    issuing: Issuing, how: str
) -> None:
    made = issuing.installation
    number = decided_otherwise(made, how)
    order(made, number)

    assert issuing.run() == 1

    assert issuing.jobs() == [("failed", 1, f"issue.{how}")]
    assert issuing.certificates() == issuing.issued() == []
    context = made.context("materials")
    (trouble,) = trouble_of(context, "failed_job")
    assert (trouble.case, trouble.about, trouble.reason) == (number, "materials.issue", f"issue.{how}")
    assert tally_all([context])["materials", "failed_job"].count == 1
    assert issuing.run() == 0, "nobody asks again by themselves"


def test_what_people_retry_is_asked_for_again_and_issued_once(issuing: Issuing) -> None:
    made = issuing.installation
    (number,) = reviewed(made)
    order(made, number)
    issuing.run()
    context = made.context("materials")
    (trouble,) = trouble_of(context, "failed_job")
    retry(context, trouble.id)
    issuing.run()
    assert issuing.jobs() == [("failed", 1, "issue.not-decided")]

    made.decide(number)
    hear(made)
    retry(context, trouble.id)
    issuing.run()

    assert issuing.jobs() == [("done", 1, None)]
    assert issuing.certificates() == issuing.issued() == [number]


def test_a_job_that_runs_again_issues_nothing_twice(issuing: Issuing) -> None:
    made = issuing.installation
    (number,) = reviewed(made)
    made.decide(number)
    hear(made)
    faults.plan_faults("job.materials.issue.result.commit.after:1:raise")
    with pytest.raises(InjectedFault):
        issuing.run()
    made.change("UPDATE materials.jobs SET state = 'claimed', epoch = epoch + 1, lease_until = now()")
    with made.job_runner("materials") as heir:
        assert heir.run_once() == 1
    assert issuing.certificates() == issuing.issued() == [number]
