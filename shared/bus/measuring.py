"""The gauges of a service: read every half minute, and cheaply, however much there is.

Each process of a service reads the same; whoever draws them takes the maximum.
"""

from collections.abc import Callable, Sequence

import structlog
from sqlalchemy import text

from shared import metrics
from shared.bus.context import ServiceContext
from shared.bus.trouble import Source
from shared.bus.unit import Unit, unit_of
from shared.db.outages import DatabaseAway
from shared.describe import kind_of
from shared.paging import COUNTED

_log = structlog.get_logger()

Measure = Callable[[Unit], None]
"""Reads something of a service's own and sets its gauges."""


def measure(context: ServiceContext, sources: Sequence[Source], measures: Sequence[Measure]) -> None:
    """Set all gauges of a service. While the database is away they stay where they are."""
    try:
        with unit_of(context, "measuring") as unit:
            _measure_outbox(unit)
            _measure_trouble(unit, sources)
            _measure_comparisons(unit)
            for one in measures:
                one(unit)
    except DatabaseAway as error:
        _log.warning("measuring_repeats", service=context.service, error=kind_of(error))


def _measure_outbox(unit: Unit) -> None:
    oldest = (
        f"SELECT emitted_at FROM {unit.context.service}.outbox WHERE sent_at IS NULL ORDER BY id "
        f"LIMIT {COUNTED + 1}"
    )
    found = unit.connection.execute(
        text(f"SELECT count(*) AS pending, min(emitted_at) AS oldest FROM ({oldest}) AS counted")
    ).one()
    metrics.OUTBOX_PENDING.labels(unit.context.service).set(found.pending)
    age_s = (unit.wall - found.oldest).total_seconds() if found.oldest else 0.0
    metrics.OUTBOX_OLDEST_SECONDS.labels(unit.context.service).set(max(0.0, age_s))
    first = text(f"SELECT emitted_at FROM {unit.context.service}.public_outbox ORDER BY id LIMIT 1")
    oldest_public = unit.connection.execute(first).scalar_one_or_none()
    age_s = (unit.wall - oldest_public).total_seconds() if oldest_public else 0.0
    metrics.PUBLIC_OLDEST_SECONDS.labels(unit.context.service).set(max(0.0, age_s))


def _measure_comparisons(unit: Unit) -> None:
    """From the table, not from who compared: that is another process each time."""
    found = unit.connection.execute(
        text(f"SELECT speaker, compared_to, missing, above FROM {unit.context.service}.comparisons")
    )
    for row in found:
        metrics.FACTS_MISSING.labels(unit.context.service, row.speaker).set(row.missing)
        metrics.FACTS_NEVER_SAID.labels(unit.context.service, row.speaker).set(row.above)
        age_s = (unit.wall - row.compared_to).total_seconds()
        metrics.FACTS_NOT_COMPARED_SECONDS.labels(unit.context.service, row.speaker).set(max(0.0, age_s))


def _measure_trouble(unit: Unit, sources: Sequence[Source]) -> None:
    for source in sources:
        for kind in source.kinds:
            tally = source.tally(unit, kind)
            age_s = (unit.wall - tally.oldest).total_seconds() if tally.oldest else 0.0
            metrics.TROUBLE.labels(unit.context.service, kind).set(tally.count)
            metrics.TROUBLE_OLDEST_SECONDS.labels(unit.context.service, kind).set(max(0.0, age_s))
