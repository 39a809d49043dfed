"""What operators see of approval's queues."""

from services.approval import queries
from shared import metrics
from shared.bus.unit import Unit
from shared.paging import COUNTED

_seen: set[str] = set()


def measure_queues(unit: Unit) -> None:
    """Open and overdue tasks of each department, counted as far as anybody reads."""
    found = queries.queue_lengths(unit.session, unit.legal, COUNTED + 1)
    for length in found:
        metrics.TASKS_OPEN.labels(length.department).set(length.open)
        metrics.TASKS_OVERDUE.labels(length.department).set(length.overdue)
    # A department whose last task is done has no line any more.
    for department in _seen - {length.department for length in found}:
        metrics.TASKS_OPEN.labels(department).set(0)
        metrics.TASKS_OVERDUE.labels(department).set(0)
    _seen.update(length.department for length in found)


MEASURES = (measure_queues,)
