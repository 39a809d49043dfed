"""Whoever sends a code is told it, as long as it is of use, and the reading is noted."""

from services.intake.rules.one_time_code import LIVES
from tests.support.commands import row, rows
from tests.support.contacts import added, asked, handed, new_number, passes, somebody, tried
from tests.support.installation import Installation


def test_it_goes_to_the_number_and_only_a_keyed_digest_stays(made: Installation) -> None:
    person, number = somebody(made), new_number()
    code_id = asked(made, person, added(made, person, number))
    sent = handed(made, code_id)
    assert sent is not None
    assert sent.address == number
    assert len(sent.code) == 6
    assert sent.code.isdecimal()
    found = row(made, "intake.one_time_codes", id=code_id)
    assert sent.code.encode() not in bytes(found.code)
    [note] = rows(made, "intake.person_reads", person_ref=person)
    assert (note.what, note.reader, note.purpose) == ("phone", "notify", "verifying a contact")


def test_each_time_it_is_another_one_and_the_last_is_good(made: Installation) -> None:
    person = somebody(made)
    point = added(made, person)
    code_id = asked(made, person, point)
    codes = {sent.code for _ in range(5) if (sent := handed(made, code_id)) is not None}
    assert len(codes) > 1
    last = handed(made, code_id)
    assert last is not None
    assert tried(made, person, point, last.code) == "right"


def test_it_is_none_once_it_is_late_or_used(made: Installation) -> None:
    person = somebody(made)
    point = added(made, person)
    code_id = asked(made, person, point)
    sent = handed(made, code_id)
    assert sent is not None
    assert tried(made, person, point, sent.code) == "right"
    assert handed(made, code_id) is None
    other = somebody(made)
    late = asked(made, other, added(made, other))
    passes(made, other, LIVES)
    assert handed(made, late) is None


def test_it_is_none_once_the_contact_was_removed(made: Installation) -> None:
    person = somebody(made)
    point = added(made, person)
    code_id = asked(made, person, point)
    made.change("DELETE FROM intake.contact_points WHERE id = :id", id=point)
    assert handed(made, code_id) is None
