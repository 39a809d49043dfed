"""A page is about to name files again: its owner's are called what they call them."""

from uuid import uuid4

from services.materials.uploads import check_file, hold_named_uploads, keep_upload
from shared.bus.unit import unit_of
from tests.support.commands import row
from tests.support.hall import A_PDF, arrived
from tests.support.installation import Installation


def test_ones_own_files_have_their_names_and_others_are_not_there(made: Installation) -> None:
    mine, stranger = uuid4(), uuid4()
    with unit_of(made.context("materials"), "test.keep") as unit:
        ours, theirs = (
            keep_upload(unit, owner, "租赁合同.pdf", check_file(arrived(A_PDF))).id
            for owner in (mine, stranger)
        )
    made.change("UPDATE materials.uploads SET held_at = held_at - interval '3 days'")
    before = row(made, "materials.uploads", id=ours).held_at
    with unit_of(made.context("materials"), "test.hold") as unit:
        assert hold_named_uploads(unit, mine, [ours, theirs, uuid4()]) == {ours: "租赁合同.pdf"}
    assert row(made, "materials.uploads", id=ours).held_at > before, "they wait on from now"
