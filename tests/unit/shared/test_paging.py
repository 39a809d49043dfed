"""Cursors: what was written is read again, and nothing else."""

from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.paging import CursorInvalid, moment, page_of, plain, read_cursor, row_id, write_cursor

_EARLIEST = datetime(1970, 1, 2, tzinfo=UTC)
moments = st.tuples(st.integers(0, 2**37), st.sampled_from([UTC, timezone(timedelta(hours=8))])).map(
    lambda drawn: (_EARLIEST + timedelta(seconds=drawn[0], microseconds=drawn[0] % 10**6)).astimezone(
        drawn[1]
    )
)


@given(moments, st.uuids())
def test_a_key_is_the_same_after_the_round_trip(at: datetime, row: UUID) -> None:
    assert read_cursor(write_cursor(at, row), moment, UUID) == (at, row)


@given(st.text())
def test_any_other_text_is_refused(said: str) -> None:
    with pytest.raises(CursorInvalid):
        read_cursor(said, moment, UUID)


@pytest.mark.parametrize(
    "cursor",
    [
        write_cursor(datetime(2026, 11, 23, tzinfo=UTC)),
        write_cursor(datetime(2026, 11, 23, tzinfo=UTC), UUID(int=1), "more"),
        write_cursor("2026-11-23T00:00:00", UUID(int=1)),
        write_cursor(datetime(2026, 11, 23, tzinfo=UTC), "x" * 400),
    ],
)
def test_a_cursor_of_another_list_is_refused(cursor: str) -> None:
    with pytest.raises(CursorInvalid):
        read_cursor(cursor, moment, UUID)


@pytest.mark.parametrize("said", ["a\0b", "a\nb", "编号"])
def test_a_code_is_what_a_column_can_hold(said: str) -> None:
    with pytest.raises(CursorInvalid):
        read_cursor(write_cursor(said), plain)


@pytest.mark.parametrize("said", ["-1", str(2**63), "x", ""])
def test_a_row_is_what_a_column_can_number(said: str) -> None:
    with pytest.raises(CursorInvalid):
        read_cursor(write_cursor(said), row_id)


def test_the_row_beyond_the_page_says_that_there_is_more() -> None:
    full = page_of(["a", "b", "c"], 2, lambda row: (row,))
    assert (full.lines, read_cursor(full.next or "", plain)) == (["a", "b"], ("b",))
    assert page_of(["a", "b"], 2, lambda row: (row,)).next is None
    assert page_of([], 2, lambda row: (str(row),)).next is None
