"""The jobs that call a channel: claims committed, one question for all contacts, calls without a session,
results committed under the same epochs."""

import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

import structlog

from services.notify import commands, queries
from services.notify.channels import Channel, OutsideMessage, Told
from services.notify.models import Case, Delivery
from services.notify.rules.delivery import (
    MAX_ASKS,
    SETTLED,
    DeliveryState,
    SendResult,
    after_answer,
    must_ask,
)
from services.notify.rules.notices import TO_HOLDERS
from shared import metrics
from shared.ask import Asker, Params, PeerFailed
from shared.bus.jobs import LEASE, Again, Done, Job, Verdict
from shared.bus.unit import Unit
from shared.errors import AppError
from shared.legal_time import legal_day

_NOT_REACHED = timedelta(seconds=2)
_MOST_DAYS = 16
"""As long as facts can be said again."""
PURPOSE = "telling the applicant about their case"
CODE_JOB = "notify.send-code"
"""One kind of job for each kind of contact."""
CODE_TEMPLATE = "one-time-code"
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a call needs, read and committed before it."""

    delivery: UUID
    recipient: UUID
    case: str
    template: str
    locale: str
    params: dict[str, str]
    ask: bool
    days: tuple[date, ...]
    """On which it may have been sent."""
    deadline: float
    """On the monotonic clock: afterwards somebody else may hold the claim."""


@dataclass(frozen=True, slots=True)
class NotReached:
    """The provider was not even spoken to, because the contact could not be had: that adds no doubt."""

    ask: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Reach:
    """What a call needs, and what intake said of how its recipient is reached."""

    prepared: Prepared
    said: Params


@dataclass(slots=True)
class Loaded:
    """The deliveries of some jobs and their cases, locked."""

    deliveries: dict[UUID, Delivery]
    cases: dict[str, Case]


class SendNotice:
    """Sends deliveries by one channel, or asks what became of them."""

    def __init__(self, channel: Channel, asker: Asker) -> None:
        self._channel = channel
        self._asker = asker
        self.at_once = channel.at_once

    def prepare(self, unit: Unit, jobs: Sequence[Job]) -> list[Prepared | Told | None]:
        """Claim the deliveries. One that may have been sent already is asked for instead, where that can
        be."""
        deliveries = queries.lock_deliveries(unit.session, [_delivery_of(job) for job in jobs])
        deadline = time.monotonic() + LEASE.total_seconds() / 2
        return [self._prepared(unit, deliveries[_delivery_of(job)], deadline) for job in jobs]

    def _prepared(self, unit: Unit, delivery: Delivery, deadline: float) -> Prepared | Told | None:
        if delivery.state in SETTLED:
            return None
        ask = must_ask(DeliveryState(delivery.state))
        if ask and not self._channel.has_receipts:
            return Told(SendResult.UNKNOWN, delivery.reason or "died-while-sending")
        if not ask:
            delivery.state, delivery.called_at = DeliveryState.CLAIMED, unit.wall
            delivery.doubted_until = None
            delivery.sends += 1
        called_at = delivery.called_at or unit.wall
        return Prepared(
            delivery=delivery.id,
            recipient=delivery.recipient,
            case=delivery.case_no,
            template=delivery.template,
            locale=delivery.locale,
            params=dict(delivery.params),
            ask=ask,
            days=_days(called_at, delivery.doubted_until or called_at),
            deadline=deadline,
        )

    def ask(self, prepared: Sequence[Prepared | Told | None]) -> list[Reach | Told | NotReached | None]:
        """The owner of the contacts is asked here, for all of them at once, so that no other row ever holds
        any."""
        wanted = [one for one in prepared if isinstance(one, Prepared)]
        reached = iter(self._reach(wanted))
        return [next(reached) if isinstance(one, Prepared) else one for one in prepared]

    def _reach(self, wanted: Sequence[Prepared]) -> Iterator[Reach | NotReached]:
        """Halves ask by themselves where the owner fails, down to the one that it cannot answer: nobody waits
        for somebody else's contact. An owner of the release before knows only the question for one."""
        if not wanted:
            return
        questions = [self._question(one) for one in wanted]
        try:
            if len(wanted) == 1:
                found = [self._asker.ask("intake", "contact", questions[0])]
            else:
                found = self._asker.ask("intake", "contacts", {"messages": questions})["contacts"]
        except PeerFailed as error:
            half = len(wanted) // 2
            if half and time.monotonic() < wanted[0].deadline:
                yield from self._reach(wanted[:half])
                yield from self._reach(wanted[half:])
            else:
                yield from (NotReached(one.ask, error.code) for one in wanted)
        except AppError as error:
            yield from (NotReached(one.ask, error.code) for one in wanted)
        else:
            yield from map(Reach, wanted, found)

    def _question(self, prepared: Prepared) -> Params:
        return {
            "person": str(prepared.recipient),
            "kind": self._channel.address,
            "case": prepared.case,
            "purpose": PURPOSE,
            "delivery": str(prepared.delivery),
            "sent": prepared.ask,
            "only_verified": prepared.template in TO_HOLDERS,
        }

    def call(self, request: Reach | Told | NotReached | None) -> Told | NotReached | None:
        """Send one, or ask after it."""
        if not isinstance(request, Reach):
            return request
        prepared, said = request.prepared, request.said
        address = said["contact"]
        if said["withheld"] is not None:
            return Told(SendResult.WITHHELD, said["withheld"])
        if address is None:
            return Told(SendResult.UNKNOWN if prepared.ask else SendResult.NO_CONTACT, "no-contact")
        message = OutsideMessage(
            prepared.delivery,
            address,
            prepared.template,
            prepared.params,
            prepared.locale,
            prepared.deadline,
            said["stop"],
        )
        if prepared.ask:
            return self._ask(message, prepared)
        return self._channel.send(message)

    def _ask(self, message: OutsideMessage, prepared: Prepared) -> Told:
        """Of each day on which it may have been sent; it was never taken if it was on none of them."""
        told = Told(SendResult.UNKNOWN, "no-time-to-ask")
        for day in prepared.days:
            if time.monotonic() >= prepared.deadline:
                return Told(SendResult.UNKNOWN, "no-time-to-ask")
            told = self._channel.ask(message, day)
            if told.answer is not SendResult.NEVER_TAKEN:
                break
        return told

    def load(self, unit: Unit, jobs: Sequence[Job]) -> Loaded:
        """Lock the deliveries, their cases first, as batches lock them."""
        cases = queries.lock_cases(unit.session, {job.case for job in jobs if job.case is not None})
        return Loaded(queries.lock_deliveries(unit.session, [_delivery_of(job) for job in jobs]), cases)

    def finish(self, unit: Unit, job: Job, answer: Any, loaded: Loaded) -> Verdict:
        """Write the answer. An exception from the call may have come after the provider took it: a doubt."""
        if answer is None:
            return Done()
        delivery = loaded.deliveries[_delivery_of(job)]
        case = loaded.cases[delivery.case_no]
        if isinstance(answer, NotReached):
            if not answer.ask:
                delivery.state = DeliveryState.PLANNED
                delivery.sends -= 1
            due_at = unit.wall + _NOT_REACHED * (0.5 + random.random())
            return Again(due_at, answer.reason, counted=False)
        told = answer if isinstance(answer, Told) else Told(SendResult.UNKNOWN, type(answer).__name__)
        asked = delivery.asked + (told.answer in (SendResult.UNKNOWN, SendResult.NEVER_TAKEN))
        if told.answer is SendResult.UNKNOWN and not self._channel.has_receipts:
            # Asking again would bring nothing: people must look.
            asked = MAX_ASKS
        then = after_answer(
            told.answer,
            sends=delivery.sends,
            asks=asked,
            reason=told.reason,
            jitter=0.5 + random.random(),
            retry_after_s=told.retry_after_s,
        )
        if then.state is DeliveryState.PLANNED:
            asked = 0
        commands.note_answer(unit, delivery, case, then, asked=asked, provider_ref=told.provider_ref)
        if then.after is not None:
            return Again(unit.wall + then.after, then.reason or told.answer)
        # What was refused is settled, and what stays in doubt is the delivery's trouble, not the job's.
        return Done()


@dataclass(frozen=True, slots=True)
class WantedCode:
    """A one-time code that is to be sent, by its id; nothing of it is known here before the call."""

    code_id: UUID
    locale: str
    deadline: float
    """On the monotonic clock."""


_STATES = {
    **dict.fromkeys(SendResult, DeliveryState.FAILED),
    SendResult.ACCEPTED: DeliveryState.SENT,
    SendResult.NOT_SENT: DeliveryState.PLANNED,
}


class SendCode:
    """Sends one one-time code by one channel, as long as it is of use.

    Whoever waits for it asks for another one, so what may have been sent is neither asked for nor sent again,
    and nothing here is trouble for people to look at.
    """

    def __init__(self, channel: Channel, asker: Asker) -> None:
        self._channel = channel
        self._asker = asker

    def prepare(self, unit: Unit, job: Job) -> WantedCode | None:
        """What to ask for; nothing when whoever had it before may have sent it."""
        if job.taken_over:
            return None
        deadline = time.monotonic() + LEASE.total_seconds() / 2
        return WantedCode(UUID(job.payload["code_id"]), job.payload["locale"], deadline)

    def call(self, prepared: WantedCode | None) -> Told | NotReached | None:
        """The code is made when its owner is asked, here, so that no row ever holds it."""
        if prepared is None:
            return None
        try:
            found = self._asker.ask("intake", "one_time_code", {"code_id": str(prepared.code_id)})
        except AppError as error:
            return NotReached(ask=False, reason=error.code)
        if found["address"] is None:
            return None
        return self._channel.send(
            OutsideMessage(
                prepared.code_id,
                found["address"],
                CODE_TEMPLATE,
                {"code": found["code"]},
                prepared.locale,
                prepared.deadline,
            )
        )

    def finish(self, unit: Unit, job: Job, answer: Any) -> Verdict:
        """Only what was certainly not sent is tried again, with a new code."""
        if answer is None:
            return Done()
        if isinstance(answer, NotReached):
            return Again(unit.wall + _NOT_REACHED, answer.reason, counted=False)
        told = answer if isinstance(answer, Told) else Told(SendResult.UNKNOWN, type(answer).__name__)
        unit.after_commit(metrics.NOTIFICATIONS.labels(self._channel.name, _STATES[told.answer]).inc)
        if told.answer is SendResult.NOT_SENT:
            wait = max(_NOT_REACHED, timedelta(seconds=told.retry_after_s))
            return Again(unit.wall + wait, told.reason or told.answer)
        if told.answer is not SendResult.ACCEPTED:
            _log.warning("code_not_sent", channel=self._channel.name, answer=told.answer, reason=told.reason)
        return Done()


def _delivery_of(job: Job) -> UUID:
    return UUID(job.payload["delivery"])


def _days(first: datetime, last: datetime) -> tuple[date, ...]:
    """From one moment to the other, as the provider counts them; the last ones, where they are many."""
    begins, ends = legal_day(first), legal_day(max(first, last))
    count = min((ends - begins).days, _MOST_DAYS - 1) + 1
    return tuple(ends - timedelta(days=n) for n in reversed(range(count)))
