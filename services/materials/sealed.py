"""The sealed columns of materials' tables."""

from shared.privacy.sealed import SealedTable

SEALED = (
    SealedTable("uploads", ("id",), ("sealed_name", "sealed_sha256")),
    SealedTable("upload_pieces", ("upload", "piece"), ("sealed",)),
)
