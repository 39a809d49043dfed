"""An application is about to name files: its owner's are held for it, and their types told."""

from datetime import timedelta
from uuid import UUID, uuid4

from services.materials.uploads import check_file, hold_uploads, keep_upload
from shared.bus.unit import unit_of
from tests.support.commands import row
from tests.support.hall import A_JPEG, A_PDF, arrived
from tests.support.installation import Installation


def keep(made: Installation, owner: UUID, content: bytes) -> UUID:
    with unit_of(made.context("materials"), "test.keep") as unit:
        upload_id = keep_upload(unit, owner, "a", check_file(arrived(content))).id
    made.change(
        "UPDATE materials.uploads SET held_at = held_at - interval '3 days' WHERE id = :id", id=upload_id
    )
    return upload_id


def hold(made: Installation, owner: UUID, *ids: UUID) -> dict[UUID, str]:
    with unit_of(made.context("materials"), "test.hold") as unit:
        return hold_uploads(unit, owner, ids)


def test_ones_own_files_wait_on_from_now_and_others_are_not_there(made: Installation) -> None:
    mine, stranger = uuid4(), uuid4()
    pdf, jpeg, theirs = keep(made, mine, A_PDF), keep(made, mine, A_JPEG), keep(made, stranger, A_PDF)
    before = {found: row(made, "materials.uploads", id=found).held_at for found in (pdf, jpeg, theirs)}
    assert hold(made, mine, pdf, jpeg, theirs, uuid4()) == {pdf: "application/pdf", jpeg: "image/jpeg"}
    after = {found: row(made, "materials.uploads", id=found).held_at for found in (pdf, jpeg, theirs)}
    assert after[pdf] - before[pdf] > timedelta(days=2)
    assert after[jpeg] - before[jpeg] > timedelta(days=2)
    assert after[theirs] == before[theirs]


def test_what_a_case_has_taken_is_held_no_longer_by_that(made: Installation) -> None:
    mine = uuid4()
    upload_id = keep(made, mine, A_PDF)
    made.change("UPDATE materials.uploads SET case_no = 'a case' WHERE id = :id", id=upload_id)
    before = row(made, "materials.uploads", id=upload_id).held_at
    assert hold(made, mine, upload_id) == {upload_id: "application/pdf"}
    assert row(made, "materials.uploads", id=upload_id).held_at == before
