"""The sealed columns of approval's tables."""

from shared.privacy.sealed import SealedTable

SEALED = (SealedTable("tasks", ("id",), ("sealed_reason",)),)
