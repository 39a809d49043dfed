"""A citizen's file is kept sealed, under an id of ours, with the type that it has."""

import hashlib
from contextlib import closing
from uuid import UUID, uuid4

import pytest

from services.materials import queries
from services.materials.errors import UploadEmpty, UploadTooManyPixels, UploadTypeNotAllowed
from services.materials.handling import file_of
from services.materials.uploads import check_file, keep_upload
from shared.bus.unit import unit_of
from shared.privacy.keys import VaultError
from shared.privacy.sealed_file import PIECE
from tests.support.commands import row, rows
from tests.support.hall import A_JPEG, A_PDF, arrived
from tests.support.installation import Installation


def keep(made: Installation, owner: UUID, name: str, content: bytes) -> UUID:
    with closing(arrived(content)) as file:
        checked = check_file(file)
        with unit_of(made.context("materials"), "test.keep") as unit:
            return keep_upload(unit, owner, name, checked).id


@pytest.mark.parametrize(
    ("content", "media_type"), [(A_PDF, "application/pdf"), (A_JPEG, "image/jpeg")], ids=["pdf", "jpeg"]
)
def test_it_is_kept_as_what_it_is_and_sealed(made: Installation, content: bytes, media_type: str) -> None:
    owner = uuid4()
    upload_id = keep(made, owner, "护照.exe", content)
    found = row(made, "materials.uploads", id=upload_id)
    assert (found.owner, found.media_type, found.size) == (owner, media_type, len(content))
    assert found.case_no is None
    pieces = rows(made, "materials.upload_pieces", upload=upload_id)
    assert all(content not in bytes(piece.sealed) for piece in pieces)
    assert "护照".encode() not in bytes(found.sealed_name)
    vault = made.context("materials").vault
    name = vault.open(found.sealed_name, table="uploads", row=upload_id, column="sealed_name")
    digest = vault.open(found.sealed_sha256, table="uploads", row=upload_id, column="sealed_sha256")
    assert (read(made, upload_id), name) == (content, "护照.exe")
    assert digest == hashlib.sha256(content).hexdigest()


def read(made: Installation, upload_id: UUID) -> bytes:
    """The file as its owner gets it back."""
    with unit_of(made.context("materials"), "test.read") as unit:
        found = queries.upload(unit.session, upload_id)
    assert found is not None
    return b"".join(file_of(made.context("materials"), found).pieces)


LARGE = A_PDF.replace(b"endobj\n", b"endobj\n" + b"%" * (2 * PIECE))


def test_a_large_file_lies_in_pieces(made: Installation) -> None:
    upload_id = keep(made, uuid4(), "a.pdf", LARGE)
    assert len(rows(made, "materials.upload_pieces", upload=upload_id)) == 3
    assert read(made, upload_id) == LARGE


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM materials.upload_pieces WHERE upload = :id AND piece = 2",
        "DELETE FROM materials.upload_pieces WHERE upload = :id AND piece = 0",
        "UPDATE materials.upload_pieces SET piece = 1 - piece + 3 WHERE upload = :id AND piece < 2",
        "UPDATE materials.upload_pieces AS p SET sealed = q.sealed FROM materials.upload_pieces AS q "
        "WHERE p.upload = :id AND q.upload = :id AND p.piece = 0 AND q.piece = 1",
        "WITH gone AS (DELETE FROM materials.upload_pieces WHERE upload = :id AND piece = 2) "
        "UPDATE materials.uploads SET size = 2 * 262144 WHERE id = :id",
        "UPDATE materials.upload_pieces AS p SET sealed = q.sealed FROM materials.upload_pieces AS q "
        "WHERE p.upload = :id AND q.upload <> :id AND p.piece = q.piece AND q.piece = 1",
    ],
    ids=["last gone", "first gone", "moved", "twice", "cut short", "of another file"],
)
def test_a_file_that_somebody_changed_is_not_given_out_as_whole(made: Installation, change: str) -> None:
    upload_id, _ = keep(made, uuid4(), "a", LARGE), keep(made, uuid4(), "b", LARGE)
    made.change(change, id=upload_id)
    with pytest.raises(VaultError):
        read(made, upload_id)


def test_a_picture_of_billions_of_pixels_is_not_kept(made: Installation) -> None:
    owner = uuid4()
    flood = A_JPEG.replace(b"\x08\x00\x01\x00\x01", b"\x08\xff\xff\xff\xff")
    with pytest.raises(UploadTooManyPixels):
        keep(made, owner, "a.jpg", flood)
    assert rows(made, "materials.uploads", owner=owner) == []


@pytest.mark.parametrize(
    ("content", "error"), [(b"", UploadEmpty), (b"GIF89a", UploadTypeNotAllowed)], ids=["empty", "gif"]
)
def test_what_is_no_document_is_not_kept(made: Installation, content: bytes, error: type[Exception]) -> None:
    owner = uuid4()
    with pytest.raises(error):
        keep(made, owner, "a.pdf", content)
    assert rows(made, "materials.uploads", owner=owner) == []


def test_the_same_file_twice_is_two(made: Installation) -> None:
    owner = uuid4()
    assert keep(made, owner, "a", A_PDF) != keep(made, owner, "a", A_PDF)


def test_a_name_that_nothing_can_write_is_kept_as_far_as_it_goes(made: Installation) -> None:
    upload_id = keep(made, uuid4(), "\ud800" + "长" * 400, A_PDF)
    found = row(made, "materials.uploads", id=upload_id)
    name = made.context("materials").vault.open(
        found.sealed_name, table="uploads", row=upload_id, column="sealed_name"
    )
    assert name == "?" + "长" * 254
