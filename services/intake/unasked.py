"""What people are told who did nothing for it: so much a day and number, each with the way to stop it.

Any form can name anybody's number. Whoever acted in a case, and is told where they are known to be reached,
knows why. Everything else may reach somebody who knows of nothing, so it is counted for the number, whoever
they are and whichever cases it is about; it says how to stop it, and what was stopped stays so.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from sqlalchemy.dialects.postgresql import insert

from services.intake import queries
from services.intake.commands import count_for_day
from services.intake.models import UnaskedContact, UnaskedNotice
from services.intake.rules.stop_code import new_stop_code, stop_digest
from shared.bus.unit import Unit
from shared.events.ids import new_id

LOOKUP = "unasked"
"""Kind of the look-ups of these numbers."""
_TABLE = "unasked_contacts"


class Withheld(StrEnum):
    """Why a message does not go."""

    STOPPED = "stopped"
    LIMIT = "limit"


@dataclass(frozen=True, slots=True)
class Leave:
    """Whether a message may go, and the stop code that it must name."""

    stop: str | None = None
    withheld: Withheld | None = None


@dataclass(frozen=True, slots=True)
class Ask:
    """Somebody is to be told of a case at this number or address, by this delivery. `known`: it was verified
    that they are reached there."""

    number: str
    person: UUID
    value: str
    known: bool
    delivery: UUID


def leaves_for(unit: Unit, asks: Sequence[Ask]) -> dict[Ask, Leave]:
    """Whether each of these messages may go."""
    known = [ask for ask in asks if ask.known]
    acted = queries.acted_in(unit.session, {ask.number for ask in known})
    free = {ask for ask in known if str(ask.person) in acted.get(ask.number, ())}
    # In one order for everybody: what is counted of a number stays locked until the transaction ends.
    others = sorted((ask for ask in asks if ask not in free), key=lambda ask: (ask.value.lower(), ask.number))
    return dict.fromkeys(free, Leave()) | {ask: _leave_unasked(unit, ask) for ask in others}


def _leave_unasked(unit: Unit, ask: Ask) -> Leave:
    lookups = unit.context.vault.lookups(ask.value.lower(), kind=LOOKUP)
    if queries.has_stopped(unit.session, ask.number, lookups):
        return Leave(withheld=Withheld.STOPPED)
    if not _may_go(unit, ask.delivery, ask.value):
        return Leave(withheld=Withheld.LIMIT)
    return Leave(stop=_code_of(unit, ask.number, ask.value, lookups))


def stop_notices(unit: Unit, code: str, *, everything: bool) -> bool:
    """Stop what a number is told of the case of this code, or of all cases in which its holder did nothing.
    Whether there is such a code; stopping again changes nothing."""
    found = queries.lock_unasked_contact(unit.session, stop_digest(code))
    if found is None:
        return False
    found.stopped_at = found.stopped_at or unit.wall
    if everything:
        found.all_stopped_at = found.all_stopped_at or unit.wall
    return True


def _may_go(unit: Unit, delivery: UUID, value: str) -> bool:
    first = insert(UnaskedNotice).values(delivery=delivery, withheld=False, asked_at=unit.wall)
    made = unit.session.execute(first.on_conflict_do_nothing().returning(UnaskedNotice.delivery)).first()
    notice = unit.session.get_one(UnaskedNotice, delivery)
    if made is not None:
        most = unit.context.settings.limits.unasked_notices
        notice.withheld = not count_for_day(unit, {f"told/{value.lower()}": most})
    return not notice.withheld


def _code_of(unit: Unit, number: str, value: str, lookups: Sequence[bytes]) -> str:
    """The same for every message to this number about this case."""
    found = queries.unasked_contact(unit.session, number, lookups)
    if found is None:
        found = _made(unit, number, value, lookups)
    return unit.context.vault.open(found.sealed_code, table=_TABLE, row=found.id, column="sealed_code")


def _made(unit: Unit, number: str, value: str, lookups: Sequence[bytes]) -> UnaskedContact:
    vault, row, code = unit.context.vault, new_id(), new_stop_code()
    made = insert(UnaskedContact).values(
        id=row,
        case_no=number,
        sealed_value=vault.seal(value.lower(), table=_TABLE, row=row, column="sealed_value"),
        value_lookup=lookups[-1],
        sealed_code=vault.seal(code, table=_TABLE, row=row, column="sealed_code"),
        code_digest=stop_digest(code),
        made_at=unit.wall,
    )
    # Two messages about one case may come to this at once; the second takes the code of the first.
    unit.session.execute(made.on_conflict_do_nothing(index_elements=["case_no", "value_lookup"]))
    found = queries.unasked_contact(unit.session, number, lookups)
    assert found is not None
    return found
