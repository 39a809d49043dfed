"""What the doors of materials do with files, for citizens, pages and other services alike."""

import hashlib
from collections.abc import Generator
from itertools import count

from services.materials import queries
from services.materials.models import Upload
from shared.ask import FileAnswer
from shared.bus.context import ServiceContext
from shared.bus.unit import unit_of
from shared.privacy.keys import VaultError


def file_of(context: ServiceContext, upload: Upload, name: str = "") -> FileAnswer:
    """The file, read piece by piece as somebody takes it; no session is open in between."""
    return FileAnswer(upload.media_type, upload.size, _pieces(context, upload), name)


def _pieces(context: ServiceContext, upload: Upload) -> Generator[bytes]:
    size, digest = 0, hashlib.sha256()
    for number in count():
        if size >= upload.size:
            break
        with unit_of(context, "upload.piece") as unit:
            sealed = queries.upload_piece(unit.session, upload.id, number)
            if sealed is None:
                break
            piece = context.vault.open_bytes(
                sealed, table="upload_pieces", row=f"{upload.id}/{number}", column="sealed"
            )
        size += len(piece)
        digest.update(piece)
        yield piece
    # Each piece opens in its own place only; this tells that none was taken away and the size made to fit.
    whole = context.vault.open(upload.sealed_sha256, table="uploads", row=upload.id, column="sealed_sha256")
    if digest.hexdigest() != whole:
        raise VaultError("", "pieces of an upload are missing")
