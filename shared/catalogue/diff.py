"""What differs between two versions of a matter."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from shared.catalogue.matter import Matter
from shared.catalogue.pointers import MISSING, pointer_of


class ChangeKind(StrEnum):
    """What happened to one value."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class Change:
    """One difference; `pointer` leads into the matter as JSON, members of lists are named by their code."""

    kind: ChangeKind
    pointer: str
    old: Any = None
    new: Any = None


def diff(old: Matter, new: Matter) -> list[Change]:
    """What differs, ordered by pointer. Materials, steps and the like are compared by code."""
    before, after = old.model_dump(mode="json"), new.model_dump(mode="json")
    return sorted(_differences(before, after, ()), key=lambda change: change.pointer)


def _differences(old: Any, new: Any, path: tuple[str, ...]) -> Iterator[Change]:
    left, right = _named(old), _named(new)
    if left is None or right is None:
        if old != new:
            yield Change(ChangeKind.CHANGED, pointer_of(path), old, new)
        return
    for name in sorted(left.keys() | right.keys()):
        before, after = left.get(name, MISSING), right.get(name, MISSING)
        if before is MISSING:
            yield Change(ChangeKind.ADDED, pointer_of((*path, name)), new=after)
        elif after is MISSING:
            yield Change(ChangeKind.REMOVED, pointer_of((*path, name)), old=before)
        else:
            yield from _differences(before, after, (*path, name))
    shared = left.keys() & right.keys()
    if isinstance(old, list) and [n for n in left if n in shared] != [n for n in right if n in shared]:
        # Among one-of members and steps the order means something.
        yield Change(ChangeKind.CHANGED, pointer_of(path), list(left), list(right))


def _named(value: Any) -> Mapping[str, Any] | None:
    if isinstance(value, dict):
        return value
    if isinstance(value, list) and value and all(isinstance(one, dict) and "code" in one for one in value):
        return {str(one["code"]): one for one in value}
    return None
