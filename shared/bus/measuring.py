"""The gauges of a service: read every half minute, and cheaply, however much there is.

Each process of a service reads the same; whoever draws them takes the maximum.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog
from sqlalchemy import Connection, text

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


@dataclass(frozen=True, slots=True)
class Compared:
    """What a subscriber found when it compared what a speaker said with what it heard: facts that are
    missing, and facts that the speaker never said; and for how long nobody could compare."""

    speaker: str
    missing: int
    above: int
    age_s: float


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
    age_s = oldest_unpublished_s(unit.connection, unit.context.service) or 0.0
    metrics.PUBLIC_OLDEST_SECONDS.labels(unit.context.service).set(max(0.0, age_s))


def _measure_comparisons(unit: Unit) -> None:
    """From the table, not from who compared: that is another process each time."""
    service = unit.context.service
    for one in compared(unit.connection, service):
        metrics.FACTS_MISSING.labels(service, one.speaker).set(one.missing)
        metrics.FACTS_NEVER_SAID.labels(service, one.speaker).set(one.above)
        metrics.FACTS_NOT_COMPARED_SECONDS.labels(service, one.speaker).set(max(0.0, one.age_s))


def _measure_trouble(unit: Unit, sources: Sequence[Source]) -> None:
    for source in sources:
        for kind in source.kinds:
            tally = source.tally(unit, kind)
            age_s = (unit.wall - tally.oldest).total_seconds() if tally.oldest else 0.0
            metrics.TROUBLE.labels(unit.context.service, kind).set(tally.count)
            metrics.TROUBLE_OLDEST_SECONDS.labels(unit.context.service, kind).set(max(0.0, age_s))


def oldest_unsent_s(connection: Connection, service: str) -> float | None:
    """For how long the oldest fact waits that was never handed on. What is said again is old from the start,
    and counts as missing until it has come."""
    return _oldest_s(connection, f"{service}.outbox WHERE sent_at IS NULL AND NOT again")


def oldest_unpublished_s(connection: Connection, service: str) -> float | None:
    """For how long the oldest public fact waits."""
    return _oldest_s(connection, f"{service}.public_outbox")


def compared(connection: Connection, service: str) -> list[Compared]:
    """How the service stands with each speaker that it hears."""
    every = text(
        "SELECT speaker, missing, above, extract(epoch FROM clock_timestamp() - compared_to) AS age_s "
        f"FROM {service}.comparisons ORDER BY speaker"
    )
    return [
        Compared(row.speaker, row.missing, row.above, float(row.age_s)) for row in connection.execute(every)
    ]


def _oldest_s(connection: Connection, outbox: str) -> float | None:
    age = text(f"SELECT extract(epoch FROM clock_timestamp() - emitted_at) FROM {outbox} ORDER BY id LIMIT 1")
    found = connection.execute(age).scalar_one_or_none()
    return float(found) if found is not None else None
