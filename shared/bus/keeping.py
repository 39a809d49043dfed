"""Housekeeping of the delivery tables: partitions made ahead, what was sent a week ago dropped."""

import structlog
from sqlalchemy import text

from shared import metrics
from shared.bus.inbox import TRANSIENT
from shared.db.unit import Desk, unit_of

_log = structlog.get_logger()


def keep_house(desk: Desk) -> None:
    """Run the owner's `keep_outbox` for today. While the database is away nothing is lost by waiting."""
    try:
        with unit_of(desk, "keeping") as unit:
            unit.connection.execute(
                text(f"SELECT {desk.service}.keep_outbox(CAST(:today AS date))"), {"today": unit.wall.date()}
            )
            pending = unit.connection.execute(
                text(
                    f"SELECT count(*), EXTRACT(epoch FROM CAST(:at AS timestamptz) - min(emitted_at)) "
                    f"FROM {desk.service}.outbox WHERE sent_at IS NULL"
                ),
                {"at": unit.wall},
            ).one()
        metrics.OUTBOX_PENDING.labels(desk.service).set(pending[0])
        metrics.OUTBOX_OLDEST_SECONDS.labels(desk.service).set(float(pending[1] or 0.0))
    except TRANSIENT as error:
        _log.warning("keeping_repeats", service=desk.service, error=type(error).__name__)
