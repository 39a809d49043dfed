"""Two clocks, both read from the database, so that all machines agree.

`wall` orders leases, retries and latency and is never moved. `legal` is wall plus an offset: due dates, the
case number and the time of events use it, so that a test or the demo can move the law's clock without
touching any machine's. Only an installation that allows it (`clock_offset_allowed`) can set an offset.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, text

from shared.errors import Forbidden

_READ = text("SELECT clock_timestamp(), offset_s FROM onestop.clock")
_MOVE = text("UPDATE onestop.clock SET offset_s = :s")


@dataclass(frozen=True, slots=True)
class Moment:
    """One reading of both clocks, aware, in UTC."""

    wall: datetime
    legal: datetime


def read_clock(connection: Connection) -> Moment:
    """Both clocks now."""
    wall, offset_s = connection.execute(_READ).one()
    return moment(wall, offset_s)


def moment(wall: datetime, offset_s: float) -> Moment:
    """Both clocks, from one of them and the seconds by which the law's is ahead."""
    return Moment(wall, wall + timedelta(seconds=offset_s))


class ClockNotMovable(Forbidden):
    code = "clock.not-movable"
    title_zh = "本系统不允许调整法定时钟"
    title_en = "The legal clock of this installation cannot be moved"


def move_legal_clock(connection: Connection, offset: timedelta, *, allowed: bool) -> None:
    """Set the offset of the legal clock for the whole installation.

    Raises ClockNotMovable unless the settings allow it, which only tests and the demo do.
    """
    if not allowed:
        raise ClockNotMovable
    connection.execute(_MOVE, {"s": offset.total_seconds()})
