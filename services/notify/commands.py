"""Use cases of notify: remember whom to tell, tell, and note what the outside world answered."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from sqlalchemy import delete
from sqlalchemy.dialects.postgresql import insert

from services.notify import queries
from services.notify.channels import set_up_channels
from services.notify.models import Case, CodeChannel, Delivery, InboxMessage
from services.notify.rules.delivery import RESTORED, SETTLED, UNSAID, DeliveryState, Next
from services.notify.rules.notices import (
    ASKED_AGAIN_TEMPLATE,
    CONSENT_TEMPLATE,
    WITHDRAWAL_TEMPLATE,
    NoticePlan,
    plan_notices,
)
from services.notify.templates import render_notice
from shared import metrics
from shared.bus.inbox import NotYet
from shared.bus.unit import Unit
from shared.catalogue.matter import Notice
from shared.events.approval import CaseAccepted, CorrectionRequired
from shared.events.fact import Event
from shared.events.ids import said_at
from shared.events.intake import (
    CaseSubmitted,
    ConsentBasis,
    ConsentGiven,
    ConsentWithdrawn,
    WithdrawnBy,
    known_cases,
)
from shared.events.notify import IN_APP, NoticeSent
from shared.legal_time import legal_day

SEND_JOB = "notify.send"


@dataclass(slots=True)
class Addressees:
    """What a batch needs: the cases, which say whom to tell."""

    cases: dict[str, Case]


def load_addressees(unit: Unit, events: Sequence[Event]) -> Addressees:
    """Lock the cases of the batch."""
    return Addressees(queries.lock_cases(unit.session, known_cases(events)))


def remember_case(unit: Unit, event: Event, loaded: Addressees) -> None:
    """Know whom to tell about a new case, and tell that it was received."""
    fact = event.fact
    assert isinstance(fact, CaseSubmitted)
    case = Case(
        number=event.case,
        sequence=0,
        matter=fact.matter,
        matter_version=fact.matter_version,
        people={role: str(person) for role, person in fact.holders.items()},
        locale=fact.locale,
    )
    unit.session.add(case)
    loaded.cases[case.number] = case
    tell(unit, event, loaded)


def tell(unit: Unit, event: Event, loaded: Addressees) -> None:
    """Make one delivery per person and channel for the notice that the matter declares for this fact, if any.

    Whoever has several roles is told once, in the first of them.
    """
    case = _known(loaded, event)
    matter = unit.context.matters.get(case.matter, case.matter_version)
    notice = matter.notice_for(_name_of(event.type), event.fact.model_dump(mode="json"))
    if notice is None:
        return
    _deliver_all(unit, event, case, notice)


def tell_consent(unit: Unit, event: Event, loaded: Addressees) -> None:
    """Tell a holder that somebody agreed for them; whoever agreed themselves knows."""
    fact = event.fact
    assert isinstance(fact, ConsentGiven)
    case = _known(loaded, event)
    if fact.basis is ConsentBasis.PROXY:
        _deliver_all(unit, event, case, _to(event, CONSENT_TEMPLATE, fact.roles))


def tell_withdrawal(unit: Unit, event: Event, loaded: Addressees) -> None:
    """Tell a holder what a counter noted in their name; whoever withdrew themselves knows."""
    fact = event.fact
    assert isinstance(fact, ConsentWithdrawn)
    case = _known(loaded, event)
    if fact.by is WithdrawnBy.COUNTER:
        _deliver_all(unit, event, case, _to(event, WITHDRAWAL_TEMPLATE, fact.roles))


def tell_asked_again(unit: Unit, event: Event, loaded: Addressees) -> None:
    """Tell what is missing since a holder withdrew, to those who are told what is missing at first."""
    case = _known(loaded, event)
    matter = unit.context.matters.get(case.matter, case.matter_version)
    first = matter.notice_for(_name_of(CorrectionRequired.type), {})
    _deliver_all(unit, event, case, _to(event, ASKED_AGAIN_TEMPLATE, first.to if first else ["applicant"]))


def _known(loaded: Addressees, event: Event) -> Case:
    case = loaded.cases.get(event.case)
    if case is None:
        raise NotYet(CaseSubmitted)
    return case


def _to(event: Event, template: str, roles: Iterable[str]) -> Notice:
    """A notice in which no matter has a say."""
    return Notice(fact=_name_of(event.type), template=template, to=tuple(roles))


def _deliver_all(unit: Unit, event: Event, case: Case, notice: Notice) -> None:
    matter = unit.context.matters.get(case.matter, case.matter_version)
    params = {
        "number": case.number,
        "matter": matter.names.within(case.locale),
        "date": str(legal_day(_date_of(event))),
    }
    for plan in plan_notices(notice, case.people, set_up_channels(unit.context.settings)):
        _deliver(unit, event, case, plan, params)


def note_answer(
    unit: Unit, delivery: Delivery, case: Case, then: Next, *, asked: int, provider_ref: str | None
) -> None:
    """Write what became of a delivery; say so when it is settled. A settled delivery never changes."""
    if delivery.state in SETTLED:
        return
    delivery.state, delivery.reason, delivery.asked = then.state, then.reason, asked
    delivery.provider_ref = provider_ref or delivery.provider_ref
    if then.state in SETTLED:
        delivery.sent_at = unit.wall if then.state is DeliveryState.SENT else None
        if then.state not in UNSAID:
            _say(unit, case, delivery, then.state)
    unit.after_commit(metrics.NOTIFICATIONS.labels(delivery.channel, then.state).inc)


def _deliver(unit: Unit, event: Event, case: Case, plan: NoticePlan, params: dict[str, Any]) -> None:
    # The id follows from fact, person, channel and template: the same intent is the same row, always.
    delivery_id = uuid5(NAMESPACE_URL, f"{event.id}/{plan.person}/{plan.channel}/{plan.template}")
    in_app = plan.channel == IN_APP
    doubt = None if in_app else _told_before(unit, event)
    unit.append(
        Delivery,
        id=delivery_id,
        case_no=case.number,
        fact=event.id,
        recipient=plan.person,
        role=plan.role,
        channel=plan.channel,
        template=plan.template,
        locale=case.locale,
        params=params,
        state=DeliveryState.SENT if in_app else DeliveryState.IN_DOUBT if doubt else DeliveryState.PLANNED,
        reason=RESTORED if doubt else None,
        asked=0,
        sends=0,
        planned_at=unit.wall,
        called_at=doubt[0] if doubt else None,
        doubted_until=doubt[1] if doubt else None,
        sent_at=unit.wall if in_app else None,
    )
    if not in_app:
        unit.later(
            f"{SEND_JOB}.{plan.channel}", str(delivery_id), {"delivery": str(delivery_id)}, case=case.number
        )
        return
    title, body = render_notice(plan.template, case.locale, params)
    unit.append(
        InboxMessage,
        id=delivery_id,
        recipient=plan.person,
        case_no=case.number,
        title=title,
        body=body,
        sent_at=unit.legal,
    )
    unit.after_commit(metrics.NOTIFICATIONS.labels(plan.channel, DeliveryState.SENT).inc)
    _say(unit, case, plan, DeliveryState.SENT)


def _told_before(unit: Unit, event: Event) -> tuple[datetime, datetime] | None:
    """Between which moments a fact may have been told before, if it may: the database was brought back from a
    copy since it was said."""
    guard = unit.context.guard
    restored_at = guard.restored_at if guard is not None else None
    said = datetime.fromtimestamp(said_at(event.id), UTC)
    return None if restored_at is None or said > restored_at else (said, restored_at)


def _say(unit: Unit, case: Case, told: NoticePlan | Delivery, status: DeliveryState) -> None:
    fact = NoticeSent(
        template=told.template, channel=told.channel, status=status, sent_at=unit.legal, to=told.role
    )
    unit.emit(case, fact)


def _name_of(type_: str) -> str:
    """`approval.case-decided`, as matter files name facts."""
    return ".".join(type_.split(".")[1:3])


def _date_of(event: Event) -> datetime:
    """The date that a notice names: until when, for an acceptance; else when it happened."""
    return event.fact.promised_due_at if isinstance(event.fact, CaseAccepted) else event.time


def say_channels(unit: Unit, channels: Mapping[str, str]) -> None:
    """Keep which kinds of contact get one-time codes by which channel: what this worker has set up."""
    if queries.code_channels(unit.session) == channels:
        return
    unit.session.execute(delete(CodeChannel))
    for kind, channel in sorted(channels.items()):
        # Another worker, of the release before or after, may say its own at the same time.
        unit.session.execute(insert(CodeChannel).values(kind=kind, channel=channel).on_conflict_do_nothing())
