"""Looks matters up, fingerprints and compares them, and describes their files to editors."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from shared.catalogue.matter import Matter
from shared.catalogue.pointers import MISSING, pointer_of
from shared.errors import NotFound

EDITOR_SCHEMA = Path(__file__).parent / "matter.schema.json"
"""The checked-in copy of `editor_schema()`."""


class UnknownMatter(NotFound):
    """No matter has this code."""

    code = "matter.unknown"
    title_zh = "没有这个事项"
    title_en = "There is no such matter"


class UnknownMatterVersion(UnknownMatter):
    """The matter exists, this version of it does not."""

    code = "matter.version-unknown"
    title_zh = "该事项没有这个版本"
    title_en = "The matter has no such version"


class Catalogue:
    """An unchanging set of matters, each in one or more versions."""

    def __init__(self, matters: Iterable[Matter]) -> None:
        versions: dict[str, dict[int, Matter]] = {}
        for matter in matters:
            if matter.version in versions.setdefault(matter.code, {}):
                raise ValueError(f"{matter.code} version {matter.version} is there twice")
            versions[matter.code][matter.version] = matter
        self._versions = MappingProxyType(versions)

    def get(self, code: str, version: int | None = None) -> Matter:
        """A matter; without a version, the newest. Raises UnknownMatter and UnknownMatterVersion."""
        versions = self._versions.get(code)
        if versions is None:
            raise UnknownMatter
        if version is None:
            return versions[max(versions)]
        if version not in versions:
            raise UnknownMatterVersion
        return versions[version]

    def __iter__(self) -> Iterator[Matter]:
        """All versions, ordered by code and version."""
        for code in sorted(self._versions):
            for version in sorted(self._versions[code]):
                yield self._versions[code][version]

    def __len__(self) -> int:
        return sum(len(versions) for versions in self._versions.values())


def fingerprint(matter: Matter) -> str:
    """SHA-256 (hex) of the canonical JSON: equal matters are equal here, whatever the layout of the file."""
    # Without defaults, so that a later release with a new optional key finds published versions unchanged.
    said = matter.model_dump(mode="json", exclude_defaults=True)
    canonical = json.dumps(said, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


class ChangeKind(StrEnum):
    """What happened to one value."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class Change:
    """One difference between two versions; `pointer` leads into `to_dict()`, list members by their code."""

    kind: ChangeKind
    pointer: str
    old: Any = None
    new: Any = None


def diff(old: Matter, new: Matter) -> list[Change]:
    """What differs, ordered by pointer. Materials, steps and the like are compared by code."""
    return sorted(_differences(old.to_dict(), new.to_dict(), ()), key=lambda change: change.pointer)


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


@cache
def editor_schema() -> dict[str, Any]:
    """JSON Schema of a matter file, for editors (YAML language server) and for suggestions."""
    schema = Matter.model_json_schema()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "onestop matter file",
    }


def editor_schema_text() -> str:
    """`editor_schema()` as it is checked in."""
    return json.dumps(editor_schema(), ensure_ascii=False, indent=2, sort_keys=True) + "\n"
