"""Pages of long lists: as much as is shown is read, and an opaque cursor says where the next page begins.

A list is ordered by columns that one index holds, the last of them unique. A query takes the key of the last
line shown (`after`) and reads one row more than a page, which says whether there is a next one.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar
from uuid import UUID

from shared.errors import BadRequest

T = TypeVar("T")

MOST = 100
"""Lines that a page may have."""
COUNTED = 1000
"""Counting stops here: whoever reads "1,000+" need not know more, and nobody waits for the rest."""

KeyPart = datetime | UUID | str | int
_SEPARATOR = "|"
LONGEST = 300
"""Characters of a cursor."""


class CursorInvalid(BadRequest):
    code = "request.cursor-invalid"
    title_zh = "分页游标无效"
    title_en = "The page cursor cannot be read"


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Lines of a list, and the cursor of what follows; None at the end."""

    lines: list[T]
    next: str | None


def page_of(rows: Sequence[T], limit: int, key: Callable[[T], tuple[KeyPart, ...]]) -> Page[T]:
    """The page in the `limit` + 1 rows that were read; `key` is what the list is ordered by."""
    lines = list(rows[:limit])
    return Page(lines, write_cursor(*key(lines[-1])) if len(rows) > limit else None)


def counted(rows: int) -> str:
    """How many, for people: rows are counted up to COUNTED + 1."""
    return f"{COUNTED:,}+" if rows > COUNTED else f"{rows:,}"


def write_cursor(*key: KeyPart) -> str:
    """A key as a cursor. It hides nothing: keys hold moments, codes and numbers, never anything personal."""
    said = _SEPARATOR.join(part.isoformat() if isinstance(part, datetime) else str(part) for part in key)
    return urlsafe_b64encode(said.encode()).decode()


def read_cursor(cursor: str, *parts: Callable[[str], Any]) -> tuple[Any, ...]:
    """The key in a cursor, each part read by a function: `moment`, `UUID`, `row_id`, `plain`.

    Raises CursorInvalid.
    """
    try:
        said = urlsafe_b64decode(cursor[:LONGEST].encode()).decode().split(_SEPARATOR)
        return tuple(read(part) for read, part in zip(parts, said, strict=True))
    except (ValueError, OverflowError):
        raise CursorInvalid from None


def moment(said: str) -> datetime:
    """An aware moment; ValueError for any other."""
    found = datetime.fromisoformat(said)
    if found.tzinfo is None:
        raise ValueError("a moment without a time zone")
    return found.astimezone(UTC)


def row_id(said: str) -> int:
    """A row's number; ValueError for what no column can hold."""
    found = int(said)
    if not 0 <= found < 2**63:
        raise ValueError("no number of a row")
    return found


def plain(said: str) -> str:
    """A code or number as a column can hold it; ValueError for any other text."""
    if not said.isascii() or not said.isprintable():
        raise ValueError("no plain text")
    return said
