"""The job that issues certificates: approval is asked over HTTP whether each case stands as a fact said.

A fact is believed by who could publish it; a certificate outlives the case, so its issuer asks the one who
decides. Many cases go into one question.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from services.materials import commands
from services.materials.rules.issuing import IssueRefused, Standing
from shared.ask import Asker
from shared.bus.jobs import Again, Done, GiveUp, Job, Verdict
from shared.bus.unit import Unit
from shared.errors import AppError
from shared.legal_time import legal_day

_AWAY = timedelta(seconds=2)


@dataclass(frozen=True, slots=True)
class NotAnswered:
    """Approval is away; `reason` is the code of what came instead of an answer."""

    reason: str


class IssueCertificates:
    """Issues the certificates of up to 100 cases that approval says it granted, and of no others."""

    together = 100

    def __init__(self, asker: Asker) -> None:
        self._asker = asker

    def prepare(self, unit: Unit, jobs: Sequence[Job]) -> list[str]:
        """The cases' numbers, which are the jobs' keys."""
        return [job.key for job in jobs]

    def call(self, prepared: list[str]) -> dict[str, Standing] | NotAnswered:
        """How these cases stand in approval."""
        try:
            standings = self._asker.ask("approval", "standings", {"cases": prepared})["standings"]
        except AppError as error:
            return NotAnswered(error.code)
        return {
            number: Standing(
                one["matter"],
                one["matter_version"],
                one["outcome"],
                one["result"],
                legal_day(datetime.fromisoformat(one["decided_at"])) if one["decided_at"] else None,
            )
            for number, one in standings.items()
        }

    def load(self, unit: Unit, jobs: Sequence[Job], answer: Any) -> commands.Orders | NotAnswered:
        """Lock the cases. Raises what the call raised: an answer that cannot be read is a mistake of ours."""
        if isinstance(answer, NotAnswered):
            return answer
        if isinstance(answer, Exception):
            raise answer
        return commands.load_orders(unit, [job.key for job in jobs], answer)

    def finish(self, unit: Unit, job: Job, loaded: commands.Orders | NotAnswered) -> Verdict:
        """Issue, wait for approval to come back, or leave it to people."""
        if isinstance(loaded, NotAnswered):
            due_at = unit.wall + _AWAY * (0.5 + random.random())
            return Again(due_at, loaded.reason, counted=False)
        try:
            commands.issue_certificate(unit, job.key, loaded)
        except IssueRefused as refused:
            return GiveUp(refused.refusal)
        return Done()
