"""notify seals nothing beside what the delivery tables hold: its notices are made from codes."""

from shared.privacy.sealed import SealedTable

SEALED: tuple[SealedTable, ...] = ()
