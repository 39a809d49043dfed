"""What each speaker said is compared with what each subscriber heard, all the time, so that a fact that got
lost on its way (a binding that somebody removed, a queue that somebody deleted) is noticed and handed on
again.

Both sides append a row for what they hand on or see for the first time: how many facts of which minute (the
one in their ids), and the exclusive or of the low halves of their ids. Once a minute a subscriber asks each
speaker, over HTTP and not over the way that may be broken, for its sums. For a minute that does not agree it
asks which facts they were, looks at its gates and its inbox, and asks for what is missing to be said again;
others drop the repetition. Until it has come it is an alarm with a number. Outbox days go only when every
subscriber has confirmed that it heard them.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import text

from shared.ask import Params, QuestionHandler
from shared.bus.context import ServiceContext
from shared.bus.gate import NOTHING_HEARD, Gate, gate_of
from shared.bus.hints import outbox_hint
from shared.bus.unit import Unit, unit_of
from shared.db.types import AwareDateTime
from shared.errors import AppError

_log = structlog.get_logger()

SETTLE = timedelta(minutes=2)
"""How old the last row of a minute must be before it is judged: what is on its way has come by then."""

OVERLAP = timedelta(minutes=3)
"""How far each comparison looks back before the one before it: rows are dated before their commit."""

RETHOUGHT = timedelta(hours=1)
"""How far back clocks may stand against one another, or may have been put, without anything being missed."""

EVERY = timedelta(seconds=55)
"""One process of a service compares; the others find that it was done."""

AT_ONCE = 2000
"""Facts of one minute that are looked at in one comparison; the others in the next."""


@dataclass(frozen=True, slots=True)
class Sum:
    """One minute of one speaker, on one side. `last`: when its newest row was added."""

    facts: int
    tails: int
    last: datetime

    def agrees_with(self, other: "Sum | None") -> bool:
        """The same facts, as far as number and exclusive or can tell."""
        return other is not None and (self.facts, self.tails) == (other.facts, other.tails)


@dataclass(frozen=True, slots=True)
class Found:
    """What a comparison with one speaker found. `missing`: said and not heard; `above`: heard and never
    said."""

    speaker: str
    missing: int
    above: int


def answers(context: ServiceContext) -> dict[str, QuestionHandler]:
    """What a speaker tells its subscribers about what it said."""
    schema = context.service

    def said(params: Params) -> Params:
        with unit_of(context, "comparison.said") as unit:
            if params["confirmed"] is not None:
                unit.connection.execute(
                    text(
                        f"INSERT INTO {schema}.confirmations VALUES (:by, :through) ON CONFLICT (subscriber) "
                        # What was confirmed ahead of a clock that was put back is confirmed anew.
                        "DO UPDATE SET through = CASE WHEN confirmations.through > :now "
                        "THEN EXCLUDED.through ELSE GREATEST(confirmations.through, EXCLUDED.through) END"
                    ),
                    {
                        "by": params["by"],
                        "through": datetime.fromisoformat(params["confirmed"]),
                        "now": unit.wall,
                    },
                )
            also = [datetime.fromisoformat(minute) for minute in params["also"]]
            since = {"since": datetime.fromisoformat(params["since"])}
            sums = _sums(unit, "said_tally", "TRUE", since, also)
            return {"minutes": {minute.isoformat(): _written(one) for minute, one in sums.items()}}

    def said_in(params: Params) -> Params:
        with unit_of(context, "comparison.said_in") as unit:
            rows = unit.connection.execute(
                text(
                    "SELECT case_no, (event->>'sequence')::int AS sequence, event->>'id' AS id "
                    f"FROM {schema}.outbox WHERE (sent_at IS NOT NULL OR again) "
                    "AND emitted_at >= CAST(:minute AS timestamptz) - CAST(:margin AS interval) "
                    f"AND {schema}.minute_of(event->>'id') = :minute AND event->>'id' > :after "
                    "ORDER BY event->>'id' LIMIT :most"
                ),
                {
                    "minute": datetime.fromisoformat(params["minute"]),
                    # An id is made after its unit looked at the clock, and by another clock.
                    "margin": RETHOUGHT,
                    "after": params["after"],
                    "most": AT_ONCE,
                },
            )
            settled = unit.connection.execute(
                text(
                    f"SELECT restored_at FROM {schema}.witness WHERE NOT EXISTS "
                    f"(SELECT 1 FROM {schema}.lost_facts WHERE NOT settled)"
                ).columns(restored_at=AwareDateTime)
            ).scalar_one_or_none()
            facts = [list(row) for row in rows]
            return {"facts": facts, "settled": settled.isoformat() if settled is not None else None}

    def say_again(params: Params) -> Params:
        with unit_of(context, "comparison.say_again") as unit:
            again = unit.connection.execute(
                text(
                    f"UPDATE {schema}.outbox SET sent_at = NULL, again = true "
                    "WHERE case_no = ANY(:cases) AND event->>'id' = ANY(:ids) AND sent_at IS NOT NULL"
                ),
                {"cases": params["cases"], "ids": params["ids"]},
            ).rowcount
        context.hints.ring(outbox_hint(schema))
        _log.warning("said_again", service=schema, facts=again)
        return {"again": again}

    return {"said": said, "said_in": said_in, "say_again": say_again}


class Comparison:
    """Compares for one subscriber. `caught_up(moment)`: nothing that was on its way to this service at that
    moment is still on its way; without that a backlog would look like a loss."""

    def __init__(
        self, context: ServiceContext, speakers: Iterable[str], caught_up: Callable[[datetime], bool]
    ) -> None:
        self._context = context
        self._speakers = sorted(speakers)
        self._caught_up = caught_up

    def run(self) -> list[Found]:
        """Compare with every speaker whose turn it is. One that cannot be asked is asked the next time."""
        found = []
        for speaker in self._speakers:
            try:
                compared = self._compare(speaker)
            except AppError as error:
                _log.warning("not_compared", service=self._context.service, speaker=speaker, error=error.code)
                continue
            if compared is not None:
                found.append(compared)
                self._tell(compared)
        return found

    def _compare(self, speaker: str) -> Found | None:
        turn = self._take_turn(speaker)
        if turn is None:
            return None
        compared_to, now = turn
        if compared_to > now:
            # The clock was put back: since then nothing was compared.
            compared_to = now - RETHOUGHT
        since = compared_to - OVERLAP
        asked = {
            "by": self._context.service,
            "since": since.isoformat(),
            "also": [minute.isoformat() for minute in sorted(self._heard(speaker, since, ()))],
            "confirmed": compared_to.isoformat(),
        }
        answer = self._context.asker.ask(speaker, "said", asked)
        said = {datetime.fromisoformat(minute): _read(one) for minute, one in answer["minutes"].items()}
        heard = self._heard(speaker, since, sorted(said))
        missing, above, through = 0, 0, now - SETTLE
        for minute in sorted({*said, *heard}):
            ours, theirs = heard.get(minute), said.get(minute)
            if theirs is not None and theirs.agrees_with(ours):
                continue
            last = max(one.last for one in (ours, theirs) if one is not None)
            if last > now - SETTLE or not self._caught_up(last + SETTLE):
                through = min(through, last)
                continue
            lost, unsaid = self._look_into(speaker, minute, theirs, ours)
            missing, above = missing + lost, above + unsaid
            if lost:
                through = min(through, last)
        self._note(speaker, now, through, missing, above)
        return Found(speaker, missing, above)

    def _heard(self, speaker: str, since: datetime, also: Sequence[datetime]) -> dict[datetime, Sum]:
        with unit_of(self._context, "comparison.heard") as unit:
            values = {"speaker": speaker, "since": since}
            return _sums(unit, "heard_tally", "speaker = :speaker", values, also)

    def _look_into(
        self, speaker: str, minute: datetime, theirs: Sum | None, ours: Sum | None
    ) -> tuple[int, int]:
        """How many facts of a minute are missing here, and how many are here that were never said."""
        if theirs is None:
            return 0, ours.facts if ours else 0
        after, missing, listed = "", 0, 0
        while True:
            which = {"minute": minute.isoformat(), "after": after}
            answer = self._context.asker.ask(speaker, "said_in", which)
            facts = answer["facts"]
            lost = self._not_here(speaker, facts)
            if lost:
                cases = sorted({case for case, _, _ in lost})
                again = {"cases": cases, "ids": [fact for _, _, fact in lost]}
                self._context.asker.ask(speaker, "say_again", again)
            missing, listed = missing + len(lost), listed + len(facts)
            if len(facts) < AT_ONCE:
                break
            after = facts[-1][2]
        # What its speaker counted and has no more cannot be said again: somebody must look, or has looked at
        # all that a restore cost it.
        settled = answer["settled"]
        if settled is None or minute > datetime.fromisoformat(settled):
            missing += max(0, theirs.facts - listed)
        if missing == 0:
            self._correct(speaker, minute, theirs, ours)
        return missing, max(0, (ours.facts if ours else 0) - theirs.facts)

    def _not_here(self, speaker: str, facts: Sequence[Sequence[Any]]) -> list[Sequence[Any]]:
        with unit_of(self._context, "comparison.gates") as unit:
            values = {
                "speaker": speaker,
                "cases": sorted({case for case, _, _ in facts}),
                "ids": [fact for _, _, fact in facts],
            }
            gates: dict[str, Gate] = {
                row.case_no: gate_of(row.heard)
                for row in unit.connection.execute(
                    text(
                        f"SELECT case_no, heard FROM {self._context.service}.gates "
                        "WHERE case_no = ANY(:cases)"
                    ),
                    values,
                )
            }
            lying = {
                (row.case_no, row.sequence, row.id)
                for row in unit.connection.execute(
                    text(
                        f"SELECT case_no, sequence, id::text FROM {self._context.service}.inbox "
                        "WHERE id = ANY(CAST(:ids AS uuid[])) AND speaker = :speaker"
                    ),
                    values,
                )
            }
        return [
            (case, sequence, fact)
            for case, sequence, fact in facts
            if (case, sequence, fact) not in lying
            and not gates.get(case, {}).get(speaker, NOTHING_HEARD).knows(sequence, UUID(fact))
        ]

    def _correct(self, speaker: str, minute: datetime, theirs: Sum, ours: Sum | None) -> None:
        """Everything that was said is here, and was only counted otherwise: by a release that did not count,
        or said before this service began to hear. What was heard and never said stays as it is."""
        facts, tails = (ours.facts, ours.tails) if ours else (0, 0)
        if facts > theirs.facts:
            return
        with unit_of(self._context, "comparison.correct") as unit:
            unit.connection.execute(
                text(
                    f"INSERT INTO {self._context.service}.heard_tally "
                    "VALUES (:speaker, :minute, :facts, :tails, :at)"
                ),
                {
                    "speaker": speaker,
                    "minute": minute,
                    "facts": theirs.facts - facts,
                    "tails": theirs.tails ^ tails,
                    "at": unit.wall,
                },
            )

    def _take_turn(self, speaker: str) -> tuple[datetime, datetime] | None:
        """Until when it was compared, and now; None when another process has just done it."""
        schema = self._context.service
        with unit_of(self._context, "comparison.turn") as unit:
            values = {"speaker": speaker, "subscriber": schema, "at": unit.wall, "every": EVERY}
            unit.connection.execute(
                text(
                    f"INSERT INTO {schema}.comparisons (speaker, compared_to, checked_at) "
                    "SELECT speaker, since, since FROM onestop.subscriptions "
                    "WHERE speaker = :speaker AND subscriber = :subscriber ON CONFLICT DO NOTHING"
                ),
                values,
            )
            row = unit.connection.execute(
                text(
                    f"UPDATE {schema}.comparisons SET checked_at = :at WHERE speaker = :speaker "
                    "AND (checked_at <= CAST(:at AS timestamptz) - CAST(:every AS interval) "
                    "OR checked_at > :at) "
                    "RETURNING compared_to"
                ),
                values,
            ).first()
            return None if row is None else (row.compared_to, unit.wall)

    def _note(self, speaker: str, now: datetime, through: datetime, missing: int, above: int) -> None:
        with unit_of(self._context, "comparison.note") as unit:
            unit.connection.execute(
                text(
                    f"UPDATE {self._context.service}.comparisons SET missing = :missing, above = :above, "
                    "compared_to = CASE WHEN compared_to > :now THEN :through "
                    "ELSE GREATEST(compared_to, :through) END WHERE speaker = :speaker"
                ),
                {"speaker": speaker, "now": now, "through": through, "missing": missing, "above": above},
            )

    def _tell(self, found: Found) -> None:
        service = self._context.service
        if found.missing:
            _log.error("facts_missing", service=service, speaker=found.speaker, facts=found.missing)
        if found.above:
            _log.error("facts_never_said", service=service, speaker=found.speaker, facts=found.above)


def nothing_delivered(context: ServiceContext, moment: datetime) -> bool:
    """Delivery inside the database: no message that came before this moment waits to be handled."""
    with unit_of(context, "comparison.messages") as unit:
        found = unit.connection.execute(
            text(f"SELECT EXISTS (SELECT 1 FROM {context.service}.messages WHERE received_at <= :moment)"),
            {"moment": moment},
        ).scalar_one()
    return not found


def _sums(
    unit: Unit, table: str, which: str, values: dict[str, Any], also: Sequence[datetime] = ()
) -> dict[datetime, Sum]:
    """The sums of every minute that got a row since, and of those named."""
    place = f"{unit.context.service}.{table}"
    rows = unit.connection.execute(
        text(
            f"SELECT minute, CAST(sum(facts) AS int) AS facts, bit_xor(tails) AS tails, "
            f"max(added_at) AS last FROM {place} WHERE {which} AND (minute = ANY(:also) OR minute IN "
            f"(SELECT minute FROM {place} WHERE {which} AND added_at >= :since)) GROUP BY minute"
        ),
        {**values, "also": list(also)},
    )
    return {row.minute: Sum(row.facts, row.tails, row.last) for row in rows}


def _written(one: Sum) -> list[Any]:
    # As text: 64 bits are more than a JSON number is sure to hold.
    return [one.facts, str(one.tails), one.last.isoformat()]


def _read(written: Sequence[Any]) -> Sum:
    return Sum(int(written[0]), int(written[1]), datetime.fromisoformat(written[2]))
