"""One-time codes: asked for, given to whoever sends them, and typed in. What one proves is that whoever typed
it holds a phone or a mailbox.

Nobody keeps a code: it is made when it is handed out, and a keyed HMAC of it stays.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import ColumnElement

from services.intake import queries
from services.intake.errors import TooManyCodes
from services.intake.identity.attributes import Source
from services.intake.identity.contacts import LOOKUP, note_reading, prove, value_of
from services.intake.models import ContactPoint, OneTimeCode
from services.intake.rules.one_time_code import (
    CODES_OF_ONE_NETWORK,
    CODES_OF_ONE_NUMBER,
    CODES_OF_ONE_PERSON,
    LIVES,
    TRIES,
    Limit,
    new_code,
    over,
)
from shared.auth.principal import Assurance
from shared.bus.unit import Unit
from shared.events.ids import new_id
from shared.typed import clean_code

BY_CODE = Source("one_time_code", Assurance.REACHED)
_CODE = "one-time-code"
_PURPOSE = "verifying a contact"


class Tried(StrEnum):
    """What became of a code that somebody typed."""

    RIGHT = "right"
    WRONG = "wrong"
    OVER = "over"
    """There is none that is good: too old, tried too often, used, or not sent yet."""


@dataclass(frozen=True, slots=True)
class HandedOut:
    """A code, and where to send it."""

    address: str
    code: str


def ask_for_code(unit: Unit, point: ContactPoint, network: str) -> UUID:
    """A code for a contact point; the one before it is void. Its id, by which it is sent.

    `network` is where the request comes from. Raises TooManyCodes.
    """
    vault = unit.context.vault
    numbers = vault.lookups(value_of(unit, point), kind=LOOKUP)
    networks = vault.lookups(network, kind="asker")
    # Two at once would both be the last one that is allowed.
    queries.lock_lookups(unit.session, sorted({*numbers, *networks}))
    _check(unit, OneTimeCode.value_lookup.in_(numbers), CODES_OF_ONE_NUMBER)
    _check(unit, OneTimeCode.person_ref == point.person_ref, CODES_OF_ONE_PERSON)
    _check(unit, OneTimeCode.network.in_(networks), CODES_OF_ONE_NETWORK)
    code = new_id()
    unit.session.add(
        OneTimeCode(
            id=code,
            contact=point.id,
            person_ref=point.person_ref,
            value_lookup=numbers[-1],
            network=networks[-1],
            tries=0,
            made_at=unit.wall,
        )
    )
    return code


def hand_out_code(unit: Unit, code_id: UUID, reader: str) -> HandedOut | None:
    """A code and where it goes, for whoever sends it; None once it is of no use. The reading is noted.

    Each time it is another code, and the last one is good: it is asked for again when none was sent.
    """
    found = queries.lock_code(unit.session, code_id)
    if found is None or found.used_at is not None or unit.wall >= found.made_at + LIVES:
        return None
    point = queries.contact_point(unit.session, found.contact)
    newest = queries.newest_code(unit.session, found.contact)
    if point is None or newest is None or newest.id != code_id:
        return None
    code = new_code()
    found.code, found.handed_at = unit.context.vault.lookup(_said(code_id, code), kind=_CODE), unit.wall
    note_reading(unit, point.person_ref, None, point.kind, reader, _PURPOSE)
    return HandedOut(value_of(unit, point), code)


def try_code(unit: Unit, point: ContactPoint, typed: str) -> Tried:
    """Whether this is the code that was sent; if so the contact is verified. Every try counts, so what was
    wrong must be committed, too."""
    found = queries.newest_code(unit.session, point.id, lock=True)
    if found is None or not _is_good(found, unit.wall):
        return Tried.OVER
    found.tries += 1
    assert found.code is not None
    expected = unit.context.vault.lookups(_said(found.id, clean_code(typed)), kind=_CODE)
    # By equality of digests under a key that whoever guesses does not have.
    if bytes(found.code) not in expected:
        return Tried.WRONG
    found.used_at = unit.wall
    prove(unit, point, BY_CODE)
    return Tried.RIGHT


def _is_good(code: OneTimeCode, at: datetime) -> bool:
    if code.handed_at is None or code.used_at is not None or code.tries >= TRIES:
        return False
    return at < code.handed_at + LIVES


def _said(code_id: UUID, code: str) -> str:
    return f"{code_id}|{code}"


def _check(unit: Unit, which: ColumnElement[bool], limits: Sequence[Limit]) -> None:
    """Raises TooManyCodes when one more would be too many."""
    # More than the largest number are not needed to know that there are too many.
    since = unit.wall - max(limit.within for limit in limits)
    asked = queries.recent_codes(unit.session, which, since, limit=max(limit.most for limit in limits))
    broken = over(limits, [unit.wall - at for at in asked])
    if broken is not None:
        raise TooManyCodes(retry_after_s=int(broken.within.total_seconds()))
