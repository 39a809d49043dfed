"""Trouble: all that does not go on by itself, or not soon, in one list that people read and act on.

Facts that were parked, that this release cannot read, or that wait for too long; jobs that failed or are
late; messages that are no facts; and what a service adds of its own (`Source`). Each piece has an id that
says whose and what it is (`approval.fact.0192…`), and a moment from which on it is trouble. Every act is
noted with who did it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from sqlalchemy import text

from shared.bus.context import ServiceContext
from shared.bus.hints import inbox_hint, jobs_hint
from shared.bus.unit import Unit, unit_of
from shared.errors import Conflict, NotFound
from shared.paging import COUNTED

TOO_LONG = timedelta(minutes=10)
"""What has waited longer is trouble. It goes on waiting: what it waits for may still come."""


class TroubleNotFound(NotFound):
    code = "trouble.not-found"
    title_zh = "没有这个编号的问题"
    title_en = "There is no trouble under this id"


class StillUnreadable(Conflict):
    code = "trouble.still-unreadable"
    title_zh = "当前版本仍无法读取"
    title_en = "This release still cannot read it; upgrade first, or drop it"


@dataclass(frozen=True, slots=True)
class Trouble:
    """One piece of trouble. `about`: the type of the fact, the kind of the job, the channel.

    `behind` counts the facts of its case that wait for it, up to 100.
    """

    id: str
    service: str
    kind: str
    since: datetime
    case: str | None
    about: str | None
    reason: str | None
    waits_for: str | None = None
    attempts: int = 0
    deaths: int = 0
    behind: int = 0


@dataclass(frozen=True, slots=True)
class Tally:
    """How much trouble of a kind there is, counted up to COUNTED + 1, and since when."""

    count: int
    oldest: datetime | None


@dataclass(frozen=True, slots=True)
class Place:
    """A place in a list of one kind: behind the piece with this id; without one, behind everything of the
    moment, or with `included` before all of it."""

    at: datetime
    id: str | None = None
    included: bool = False


class Source(Protocol):
    """A family of trouble: where it lies, and what people can do about it.

    Its acts run in a unit of work, and raise TroubleNotFound where nothing lies under that id any more.
    """

    @property
    def family(self) -> str:
        """Second part of an id: `fact`, `job`, `message`."""

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of trouble that it knows."""

    def page(self, unit: Unit, kind: str, after: Place | None, limit: int) -> Sequence[Trouble]:
        """The oldest of a kind behind a place, `limit` at most."""

    def tally(self, unit: Unit, kind: str) -> Tally:
        """How much there is."""

    def show(self, unit: Unit, row_id: str) -> dict[str, Any]:
        """All that is known of one piece."""

    def retry(self, unit: Unit, row_id: str) -> None:
        """Let it be tried again, as if for the first time."""

    def drop(self, unit: Unit, row_id: str) -> None:
        """Give it up."""


def list_trouble(
    context: ServiceContext, source: Source, kind: str, after: Place | None, limit: int
) -> Sequence[Trouble]:
    """One service's trouble of one kind, the oldest first."""
    with unit_of(context, "trouble.list") as unit:
        return source.page(unit, kind, after, limit)


def tally_trouble(context: ServiceContext, sources: Sequence[Source]) -> dict[str, Tally]:
    """Kind -> how much there is in one service."""
    with unit_of(context, "trouble.tally") as unit:
        return {kind: source.tally(unit, kind) for source in sources for kind in source.kinds}


def show_trouble(context: ServiceContext, source: Source, row_id: str) -> dict[str, Any]:
    """One piece with its payload, for people who mend. Raises TroubleNotFound."""
    with unit_of(context, "trouble.show") as unit:
        return source.show(unit, row_id)


def retry_trouble(context: ServiceContext, source: Source, row_id: str, actor: str) -> None:
    """Let it be tried again, noted. Raises TroubleNotFound and StillUnreadable."""
    with unit_of(context, "trouble.retry") as unit:
        source.retry(unit, row_id)
        _note(unit, source, row_id, "retried", actor)
    _wake(context)


def drop_trouble(context: ServiceContext, source: Source, row_id: str, actor: str) -> None:
    """Give it up, noted. Raises TroubleNotFound."""
    with unit_of(context, "trouble.drop") as unit:
        source.drop(unit, row_id)
        _note(unit, source, row_id, "dropped", actor)
    _wake(context)


def _wake(context: ServiceContext) -> None:
    context.hints.ring(inbox_hint(context.service))
    context.hints.ring(jobs_hint(context.service))


def _note(unit: Unit, source: Source, row_id: str, act: str, actor: str) -> None:
    unit.connection.execute(
        text(
            f"INSERT INTO {unit.context.service}.trouble_acts (trouble, act, actor, acted_at) "
            "VALUES (:trouble, :act, :actor, :acted_at)"
        ),
        {
            "trouble": f"{source.family}.{row_id}",
            "act": act,
            "actor": actor[:100],
            "acted_at": unit.wall,
        },
    )


def beyond(after: Place | None, moment: str, row_id: str) -> str:
    """SQL: behind this place in a list that is ordered by these two columns."""
    if after is None:
        return "true"
    if after.id is None:
        return f"{moment} {'>=' if after.included else '>'} :at"
    return f"({moment}, {row_id}) > (:at, :id)"


def place_values(after: Place | None) -> dict[str, Any]:
    """The values that `beyond` names."""
    return {} if after is None else {"at": after.at, **({"id": after.id} if after.id is not None else {})}


def tally_of(unit: Unit, rows: str, moment: str, **values: Any) -> Tally:
    """Count the rows that `rows` (FROM … WHERE …) names, as far as anybody reads, and find the oldest."""
    # In the order of its index, so that the planner has no reason to read anything else.
    oldest = f"SELECT {moment} AS at {rows} ORDER BY {moment} LIMIT {COUNTED + 1}"
    tally = text(f"SELECT count(*), min(at) FROM ({oldest}) AS counted")
    return Tally(*unit.connection.execute(tally, values).one())
