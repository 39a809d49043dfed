"""Use cases about files: keep one, hold what an application names, read one of a case."""

from collections.abc import Collection
from dataclasses import dataclass
from math import ceil
from uuid import UUID

from sqlalchemy import insert

from services.materials import queries
from services.materials.errors import (
    UploadEmpty,
    UploadLocked,
    UploadNotFound,
    UploadsUntaken,
    UploadTooManyPixels,
    UploadTypeNotAllowed,
)
from services.materials.models import Upload, UploadPiece, UploadRead
from services.materials.retention import UNTAKEN_FOR
from services.materials.rules.media import MOST_PIXELS, Media, is_locked, media_of
from shared.bus.unit import Unit
from shared.errors import AppError
from shared.events.ids import new_id
from shared.privacy.sealed_file import SealedFile

MOST_UNTAKEN, MOST_UNTAKEN_BYTES = 50, 200 * 2**20
"""Files that one person may keep here without an application that uses them."""
_SHARE_OF_HELD = 2
"""A file of a form whose session is over has half of that: whoever has got hold of an old cookie leaves the
other half to its owner."""


@dataclass(frozen=True, slots=True)
class CheckedFile:
    """A file whose content was looked at, and what was found: its type, or why it is not taken."""

    content: SealedFile
    found: Media | AppError

    @property
    def media(self) -> Media:
        """Its type. Raises what its content is refused with."""
        if isinstance(self.found, AppError):
            raise self.found
        return self.found


def check_file(file: SealedFile) -> CheckedFile:
    """Look at what a file holds. That takes as long as whoever made it likes, so it is done before a
    transaction; what is wrong is said in its place, after what the transaction finds first."""
    try:
        return CheckedFile(file, _check_content(file))
    except (UploadEmpty, UploadTypeNotAllowed, UploadLocked, UploadTooManyPixels) as refusal:
        return CheckedFile(file, refusal)


def keep_upload(unit: Unit, owner: UUID, name: str, checked: CheckedFile, *, held: bool = False) -> Upload:
    """Keep a citizen's file, sealed piece by piece, under a generated id. The type is read from the content,
    not the name. `held`: it came with a form whose session is over.

    Raises UploadEmpty, UploadTypeNotAllowed, UploadLocked, UploadTooManyPixels, and UploadsUntaken for
    whoever would keep more than MOST_UNTAKEN files or MOST_UNTAKEN_BYTES that no case took, half of that for
    what is held.
    """
    media, file = checked.media, checked.content
    _check_quota(unit, owner, file.size, _SHARE_OF_HELD if held else 1)
    vault, upload_id = unit.context.vault, new_id()
    # A browser may say any alphabet for the name, and some hold characters that no other can write.
    kept_name = name[:255].encode(errors="replace").decode()
    upload = Upload(
        id=upload_id,
        owner=owner,
        sealed_name=vault.seal(kept_name, table="uploads", row=upload_id, column="sealed_name"),
        media_type=media.type,
        size=file.size,
        sealed_sha256=vault.seal(file.sha256, table="uploads", row=upload_id, column="sealed_sha256"),
        uploaded_at=unit.wall,
        held_at=unit.wall,
    )
    unit.session.add(upload)
    unit.session.flush()
    for number, piece in enumerate(file.pieces()):
        sealed = vault.seal(piece, table="upload_pieces", row=f"{upload_id}/{number}", column="sealed")
        # Not through the session, which would keep them all until the end.
        unit.connection.execute(insert(UploadPiece).values(upload=upload_id, piece=number, sealed=sealed))
    return upload


def _check_content(file: SealedFile) -> Media:
    if not file.size:
        raise UploadEmpty
    media = media_of(file.pieces())
    if media is None:
        raise UploadTypeNotAllowed("请上传 PDF、JPEG 或 PNG 文件。", "Please upload a PDF, JPEG or PNG file.")
    if media.is_encrypted and is_locked(file.opened()):
        raise UploadLocked(
            "请去掉打开密码，或另存后重新上传。",
            "Please take the password off, or save the file anew, and upload it again.",
        )
    if media.pixels > MOST_PIXELS:
        millions = MOST_PIXELS // 1_000_000
        raise UploadTooManyPixels(
            f"图片最多 {millions * 100} 万像素，请缩小后再上传。",
            f"At most {millions} million pixels; please make the picture smaller.",
        )
    return media


def _check_quota(unit: Unit, owner: UUID, size: int, share: int) -> None:
    found = queries.untaken(unit.session, owner, MOST_UNTAKEN)
    if found.count < MOST_UNTAKEN // share and found.size + size <= MOST_UNTAKEN_BYTES // share:
        return
    frees_at = (found.oldest or unit.wall) + UNTAKEN_FOR
    days, most_mb = UNTAKEN_FOR.days, MOST_UNTAKEN_BYTES // 2**20
    raise UploadsUntaken(
        f"最多可保留 {MOST_UNTAKEN} 个、共 {most_mb} MB 未用于申请的附件；{days} 天未使用的会自动删除。",
        f"At most {MOST_UNTAKEN} files and {most_mb} MB may wait for an application; what is not used within "
        f"{days} days is removed.",
        retry_after_s=max(1, ceil((frees_at - unit.wall).total_seconds())),
    )


def hold_uploads(unit: Unit, owner: UUID, ids: Collection[UUID]) -> dict[UUID, str]:
    """Which of these uploads this person gave, with their media types. A page or an application is about to
    name them: those that no case took wait on from now."""
    own = {
        found.id: found for found in queries.lock_uploads(unit.session, ids).values() if found.owner == owner
    }
    for upload in own.values():
        if upload.case_no is None:
            upload.held_at = unit.wall
    return {upload_id: upload.media_type for upload_id, upload in own.items()}


def hold_named_uploads(unit: Unit, owner: UUID, ids: Collection[UUID]) -> dict[UUID, str]:
    """As `hold_uploads`, with what this person calls them."""
    held = hold_uploads(unit, owner, ids)
    return {
        upload_id: unit.context.vault.open(sealed, table="uploads", row=upload_id, column="sealed_name")
        for upload_id, sealed in queries.sealed_names(unit.session, held).items()
    }


@dataclass(frozen=True, slots=True)
class ReadUpload:
    """A file of a case, and as which material it was brought."""

    upload: Upload
    material: str


def read_upload(unit: Unit, upload_id: UUID, number: str, reader: str, purpose: str) -> ReadUpload:
    """A file of a case for whoever handles it; the reading is noted.

    Raises UploadNotFound for a file of another case.
    """
    found = queries.upload_of_case(unit.session, upload_id, number)
    if found is None:
        raise UploadNotFound
    material, upload = found
    unit.session.add(
        UploadRead(upload=upload_id, case_no=number, reader=reader, purpose=purpose, read_at=unit.legal)
    )
    return ReadUpload(upload, material)
