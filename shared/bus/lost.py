"""What a service said after the copy that its database was brought back from, as far as the others heard it.

What it does again because of a fact it says again under the same id, and under the number of before. What
people do anew it says under a number beyond all that was heard. Where an act of people was lost with the
copy, nobody may act on the case before somebody has looked: the others went on from it.
"""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection, text

from shared.bus.gate import tail_of
from shared.errors import Conflict
from shared.events.fact import fact_named

_WITHOUT_TAIL = 7 << 76
"""A UUIDv7 with no time in it."""


class ActsLost(Conflict):
    """Acts on this case were lost when the database was brought back from a copy."""

    code = "case.acts-lost"
    title_zh = "该办件的部分办理记录在系统恢复时丢失，需由运维人员核实后才能继续办理"
    title_en = "Acts on this case were lost when the system was restored; it must be looked into first"


@dataclass(slots=True)
class LostFact:
    """One fact that was said after the copy. `tail`: the low eight bytes of its id, in hex."""

    sequence: int
    tail: str
    fact: str | None
    settled: bool
    harmless: bool

    @property
    def holds_back(self) -> bool:
        """Nothing new may be done before it was said again or somebody has looked."""
        return not self.settled and not self.harmless


UNHEARD = "0" * 16
"""Stands for the end of an id that nobody knows."""


def stand_in(tail: str) -> UUID:
    """An id that ends as a lost one did: `follows` is compared by its end."""
    return UUID(int=_WITHOUT_TAIL | int(tail, 16))


@dataclass(slots=True)
class LostFacts:
    """The lost facts of one case, in order; there is at least one."""

    facts: list[LostFact]

    @property
    def last(self) -> LostFact:
        """The last one that was heard."""
        return self.facts[-1]

    def again(self, fact_id: UUID) -> LostFact | None:
        """The one with this id, which is said once more."""
        tail = tail_of(fact_id)
        return next((one for one in self.facts if one.tail == tail), None)

    def gap(self) -> LostFact | None:
        """The first one that nobody heard although they heard a later one: what is said because of a fact
        and is not among those heard, was that one."""
        return next((one for one in self.facts if one.tail == UNHEARD and not one.settled), None)

    def before(self, fact: LostFact) -> UUID | None:
        """What stands for the fact that this one follows, as far as that was lost too."""
        return next((stand_in(one.tail) for one in self.facts if one.sequence == fact.sequence - 1), None)

    def check_act(self) -> None:
        """Raises ActsLost while people must look first."""
        missing = [one for one in self.facts if one.holds_back]
        if missing:
            raise ActsLost(members={"lost": [f"{one.sequence} {one.fact or 'unknown'}" for one in missing]})


def lost_facts(connection: Connection, service: str, case: str) -> LostFacts | None:
    """What was lost of a case; None when nothing was."""
    rows = connection.execute(
        text(
            f"SELECT sequence, tail, fact, settled FROM {service}.lost_facts "
            "WHERE case_no = :case ORDER BY sequence"
        ),
        {"case": case},
    )
    facts = [
        LostFact(row.sequence, row.tail, row.fact, row.settled, _is_harmless(service, row.fact))
        for row in rows
    ]
    return LostFacts(facts) if facts else None


def _is_harmless(speaker: str, called: str | None) -> bool:
    known = fact_named(speaker, called) if called is not None else None
    return known is not None and known.harmless


def settle(connection: Connection, service: str, case: str, sequence: int) -> None:
    """It was said again as it was."""
    connection.execute(
        text(
            f"UPDATE {service}.lost_facts SET settled = true WHERE case_no = :case AND sequence = :sequence"
        ),
        {"case": case, "sequence": sequence},
    )
