"""Whoever handles a case reads its files and no others, and each reading is noted."""

from uuid import UUID, uuid4

import pytest

from services.materials.commands import load_checklists, match_materials
from services.materials.errors import UploadNotFound
from services.materials.handling import file_of
from services.materials.uploads import check_file, keep_upload, read_upload
from shared.bus.unit import unit_of
from tests.support.commands import event_of, handle, new_number, person_of, row, rows, submitted
from tests.support.hall import A_PDF, arrived
from tests.support.installation import GAP, Installation


def case_with_file(made: Installation) -> tuple[str, UUID]:
    number, applicant = new_number(), person_of(made, GAP)
    with unit_of(made.context("materials"), "test.keep") as unit:
        upload_id = keep_upload(unit, applicant, "a.pdf", check_file(arrived(A_PDF))).id
    event = event_of(submitted(applicant, uploads={"lease_contract": upload_id}), number)
    handle(made, "materials", load_checklists, match_materials, event)
    return number, upload_id


def read(made: Installation, upload_id: UUID, number: str) -> tuple[bytes, str, str]:
    with unit_of(made.context("materials"), "test.read") as unit:
        found = read_upload(unit, upload_id, number, "officer-1", "deciding the case")
    file = file_of(made.context("materials"), found.upload)
    return b"".join(file.pieces), file.media_type, found.material


def test_a_file_of_the_case_is_read_and_the_reading_noted(made: Installation) -> None:
    number, upload_id = case_with_file(made)
    assert read(made, upload_id, number) == (A_PDF, "application/pdf", "lease_contract")
    note = row(made, "materials.upload_reads", upload=upload_id)
    assert (note.case_no, note.reader, note.purpose) == (number, "officer-1", "deciding the case")


def test_a_file_of_another_case_is_not_there_and_nothing_is_noted(made: Installation) -> None:
    number, _ = case_with_file(made)
    _, other = case_with_file(made)
    for upload_id in (other, uuid4()):
        with pytest.raises(UploadNotFound):
            read(made, upload_id, number)
        assert rows(made, "materials.upload_reads", upload=upload_id) == []
