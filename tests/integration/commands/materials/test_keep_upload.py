"""A citizen's file is kept sealed, under an id of ours, with the type that it has."""

import hashlib
from uuid import UUID, uuid4

import pytest

from services.materials.commands import keep_upload
from services.materials.errors import UploadEmpty, UploadTypeNotAllowed
from shared.bus.unit import unit_of
from tests.support.commands import row, rows
from tests.support.hall import A_JPEG, A_PDF
from tests.support.installation import Installation


def keep(made: Installation, owner: UUID, name: str, content: bytes) -> UUID:
    with unit_of(made.context("materials"), "test.keep") as unit:
        return keep_upload(unit, owner, name, content).id


@pytest.mark.parametrize(
    ("content", "media_type"), [(A_PDF, "application/pdf"), (A_JPEG, "image/jpeg")], ids=["pdf", "jpeg"]
)
def test_it_is_kept_as_what_it_is_and_sealed(made: Installation, content: bytes, media_type: str) -> None:
    owner = uuid4()
    upload_id = keep(made, owner, "护照.exe", content)
    found = row(made, "materials.uploads", id=upload_id)
    assert (found.owner, found.media_type, found.size) == (owner, media_type, len(content))
    assert found.sha256 == hashlib.sha256(content).hexdigest()
    assert found.case_no is None
    assert content not in bytes(found.sealed_content)
    assert "护照".encode() not in bytes(found.sealed_name)
    vault = made.context("materials").vault
    file = vault.open_bytes(found.sealed_content, table="uploads", row=upload_id, column="sealed_content")
    name = vault.open(found.sealed_name, table="uploads", row=upload_id, column="sealed_name")
    assert (file, name) == (content, "护照.exe")


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
