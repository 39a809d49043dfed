"""How somebody is reached, as they see it: what is verified, what waits for a code, where notices go."""

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

from fastapi import Request
from starlette.responses import Response

from services.intake.identity.contacts import Contact, contacts_of, note_reading, own_point, remove_contact
from services.intake.rules.contacts import ContactKind
from shared.ask import PeerUnavailable
from shared.auth.principal import Principal, PrincipalKind
from shared.bus.held_forms import HeldForm
from shared.bus.unit import Unit, unit_of
from shared.errors import AppError
from shared.http.answers import Answer
from shared.http.context import WebContext
from shared.http.problems import problem_of
from shared.http.rendering import page


class ContactList(Answer):
    """One's contact points, those of a kind together; the in-app inbox needs none."""

    contacts: list[Contact]


@dataclass(frozen=True, slots=True)
class Refused:
    """A contact that was not taken, as it was typed."""

    error: AppError
    kind: ContactKind
    value: str


def read_contacts(context: WebContext, party: Principal) -> ContactList:
    """All of one's own, or of whom an operator serves, which is noted."""
    person = _person(party)
    with unit_of(context.service, "contacts.read") as unit:
        note_operator(unit, party)
        return ContactList(contacts=contacts_of(unit, person))


def forget_contact(context: WebContext, party: Principal, contact: UUID) -> ContactList:
    """What is left without it. Raises ContactNotFound, ContactVouched."""
    with unit_of(context.service, "contact.remove") as unit:
        note_operator(unit, party)
        remove_contact(unit, own_point(unit, _person(party), contact))
        unit.session.flush()
        return ContactList(contacts=contacts_of(unit, _person(party)))


def sendable(context: WebContext, verifiable: Collection[ContactKind]) -> set[ContactKind]:
    """Those of the kinds that people may verify here to which notify can send a code now. Raises
    PeerUnavailable."""
    if not verifiable:
        return set()
    return set(verifiable) & set(context.service.asker.ask("notify", "code_kinds", {})["kinds"])


def contacts_page(
    context: WebContext,
    request: Request,
    party: Principal,
    verifiable: Collection[ContactKind],
    refused: Refused | None = None,
    kept: HeldForm | None = None,
) -> Response:
    """The page; with what was refused, or kept when the session ended, typed in again."""
    try:
        offered = sendable(context, verifiable)
    except PeerUnavailable:
        # What one has is shown; only nothing can be added now, and the page says so.
        offered = set()
    fields = kept.fields if kept else {}
    kind = refused.kind if refused else fields.get("kind")
    values = {
        "contacts": read_contacts(context, party).contacts,
        "verifiable": sorted(offered, reverse=True),
        "not_sent": sorted(set(verifiable) - offered, reverse=True),
        "problem": problem_of(request, refused.error) if refused else None,
        "kind": kind if kind in offered else None,
        "value": refused.value if refused else fields.get("value", ""),
        "held": kept is not None,
    }
    status = refused.error.status if refused else 200
    return page(context.pages, request, "contacts.html", values, status=status, back="/contacts")


def note_operator(unit: Unit, party: Principal) -> None:
    """An operator looks at, or changes, how somebody else is reached."""
    if party.kind is PrincipalKind.OPERATOR:
        note_reading(unit, _person(party), None, "contacts", party.subject, "acting for the person")


def _person(party: Principal) -> UUID:
    assert party.party is not None
    return party.party
