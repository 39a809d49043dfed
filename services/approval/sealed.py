"""The sealed columns of approval's tables."""

from shared.privacy.sealed import SealedTable

SEALED = (
    SealedTable("tasks", ("id",), ("sealed_reason",)),
    SealedTable("task_acts", ("id",), ("sealed_reason",)),
)
