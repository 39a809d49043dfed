"""Housekeeping of the delivery tables: the outbox turns, and what has stayed for its time goes."""

from collections.abc import Sequence

import structlog
from sqlalchemy import text

from shared import metrics
from shared.bus.context import ServiceContext
from shared.bus.unit import unit_of
from shared.db.outages import DatabaseAway
from shared.db.transaction import call
from shared.describe import kind_of
from shared.retention import Rule, forgotten

_log = structlog.get_logger()

BITES = 100
"""Bites of one table in one run."""


def keep_tables(context: ServiceContext) -> None:
    """Empty the outbox slot of tomorrow. While the database is away nothing is lost by waiting."""
    try:
        with unit_of(context, "keeping") as unit:
            turned = unit.connection.execute(
                text(f"SELECT {context.service}.turn_outbox(:at)"), {"at": unit.wall}
            ).scalar_one()
            unit.connection.execute(text(f"SELECT {context.service}.fold_tallies(:at)"), {"at": unit.wall})
        if not turned:
            # Nothing is lost: tomorrow's facts stand beside those that are a ring older.
            _log.warning("outbox_not_turned", service=context.service)
    except DatabaseAway as error:
        _log.warning("keeping_repeats", service=context.service, error=kind_of(error))


def forget_old(context: ServiceContext, rules: Sequence[Rule], *, bites: int = BITES) -> dict[str, int]:
    """Let go what has stayed for its time, in bites that are transactions of their own; table -> rows.

    Several processes may do so at once. What `bites` per table do not reach is left to the next run.
    """
    statement = text(f"SELECT {context.service}.forget(:what, :most) AS gone")
    gone: dict[str, int] = {}
    for rule in forgotten(rules):
        for _ in range(bites):
            values = {"what": rule.table, "most": rule.bite}
            found: int = call(context.engine, "keeping.forget", statement, values).gone
            gone[rule.table] = gone.get(rule.table, 0) + found
            if found < rule.bite:
                break
    return {table: rows for table, rows in gone.items() if rows}


def forget(context: ServiceContext, rules: Sequence[Rule]) -> None:
    """The timer's side of `forget_old`: counts and logs what went; an outage is no reason to fail."""
    try:
        context.ready()
        gone = forget_old(context, rules)
    except DatabaseAway as error:
        _log.warning("forgetting_repeats", service=context.service, error=kind_of(error))
        return
    for table, rows in gone.items():
        metrics.ROWS_FORGOTTEN.labels(context.service, table).inc(rows)
    if gone:
        _log.info("rows_forgotten", service=context.service, **gone)
