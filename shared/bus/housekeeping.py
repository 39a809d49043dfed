"""Housekeeping of the delivery tables: partitions made ahead, what was sent a week ago dropped."""

import structlog
from sqlalchemy import text

from shared import metrics
from shared.bus.context import ServiceContext
from shared.bus.unit import unit_of
from shared.db.outages import DatabaseAway
from shared.describe import kind_of

_log = structlog.get_logger()


def keep_tables(context: ServiceContext) -> None:
    """Run the owner's `keep_outbox` for today. While the database is away nothing is lost by waiting."""
    try:
        with unit_of(context, "keeping") as unit:
            unit.connection.execute(
                text(f"SELECT {context.service}.keep_outbox(CAST(:today AS date))"),
                {"today": unit.wall.date()},
            )
            pending = unit.connection.execute(
                text(
                    f"SELECT count(*), EXTRACT(epoch FROM CAST(:at AS timestamptz) - min(emitted_at)) "
                    f"FROM {context.service}.outbox WHERE sent_at IS NULL"
                ),
                {"at": unit.wall},
            ).one()
        metrics.OUTBOX_PENDING.labels(context.service).set(pending[0])
        metrics.OUTBOX_OLDEST_SECONDS.labels(context.service).set(float(pending[1] or 0.0))
    except DatabaseAway as error:
        _log.warning("keeping_repeats", service=context.service, error=kind_of(error))
