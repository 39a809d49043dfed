"""The sealed columns of the delivery tables; the same in every service."""

from shared.privacy.sealed import SealedTable

SEALED = (
    SealedTable("inbox", ("id",), ("sealed",)),
    SealedTable("undecodable", ("sha256",), ("sealed", "sealed_properties")),
    SealedTable("idempotency_keys", ("principal", "key"), ("sealed",)),
    SealedTable("held_forms", ("id",), ("sealed",)),
)
