"""Reads a YAML file so that everything in it knows its line and column.

The dialect is JSON's data model: YAML 1.2 core scalars (`07`, `yes` and `2026-03-01` are texts), text keys,
no aliases, no tags, no duplicate keys.
"""

import re
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.constructor import RoundTripConstructor
from ruamel.yaml.error import MarkedYAMLError, StringMark, YAMLError
from ruamel.yaml.nodes import MappingNode, Node
from ruamel.yaml.resolver import VersionedResolver

Loc = tuple[str | int, ...]

_TAG = "tag:yaml.org,2002:"
_PLAIN = {f"{_TAG}{kind}" for kind in ("null", "bool", "int", "float", "str", "map", "seq")}


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A line and column, both from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True, order=True)
class Slip:
    """Something that is wrong at a place, and what would be right."""

    place: Place
    wrong: str
    right: str


@dataclass(slots=True)
class Document:
    """The data of a file, where each key and value stands, and what is wrong with its YAML."""

    data: Any = None
    slips: list[Slip] = field(default_factory=list)
    read: Any = None
    """The data as ruamel.yaml keeps it, each mapping and sequence with the lines and columns of its parts."""

    def place(self, loc: Loc) -> Place:
        """Where `loc` stands: its key if it has one, else the nearest thing around it."""
        return self._places(loc)[0]

    def value_place(self, loc: Loc) -> Place:
        """Where the value of `loc` stands."""
        return self._places(loc)[1]

    def _places(self, loc: Loc) -> tuple[Place, Place]:
        """Of key and value, or twice of what is nearest."""
        at = self.read
        key = value = _from_zero(at.lc.line, at.lc.col) if hasattr(at, "lc") else Place(1, 1)
        for part in loc:
            if isinstance(at, CommentedMap) and part in at:
                key, value = _from_zero(*at.lc.key(part)), _from_zero(*at.lc.value(part))
            elif isinstance(at, CommentedSeq) and isinstance(part, int) and 0 <= part < len(at):
                key = value = _from_zero(*at.lc.item(part))
            else:
                return key, key
            at = at[part]
        return key, value


def read_document(text: str) -> Document:
    """Read the text. Whatever is wrong is in `slips`; the data is usable only without any."""
    document = Document()
    yaml = YAML(typ="rt", pure=True)
    yaml.Resolver = _Resolver
    yaml.Constructor = _Constructor
    yaml.constructor.slips = document.slips
    try:
        document.read = yaml.load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = _from_zero(mark.line, mark.column) if mark else Place(1, 1)
        document.slips.append(Slip(place, f"not YAML: {error.problem}", "mend the YAML at this place"))
        return document
    except YAMLError as error:
        document.slips.append(Slip(Place(1, 1), f"not YAML: {error}", "save the file as UTF-8 text"))
        return document
    if document.read is None and not document.slips:
        document.slips.append(Slip(Place(1, 1), "the file is empty", "describe one matter in it"))
    document.data = _plain(document.read)
    return document


class _Resolver(VersionedResolver):
    """Knows null, true, false and the numbers of JSON; every other scalar is a text."""

    @property
    def versioned_resolver(self) -> dict[str, list[tuple[str, re.Pattern[str]]]]:
        return _SCALARS


_SCALARS: dict[str, list[tuple[str, re.Pattern[str]]]] = {}
for _kind, _pattern, _first in (
    ("null", r"~|null|", ["~", "n", ""]),
    ("bool", r"true|false", ["t", "f"]),
    ("int", r"-?(0|[1-9][0-9]*)", list("-0123456789")),
    ("float", r"-?(0|[1-9][0-9]*)\.[0-9]+", list("-0123456789")),
):
    for _character in _first:
        _scalar = (f"{_TAG}{_kind}", re.compile(rf"(?:{_pattern})\Z"))
        _SCALARS.setdefault(_character, []).append(_scalar)


class _Constructor(RoundTripConstructor):
    """Notes what the dialect has not, and goes on, so that all of it is told at once."""

    slips: list[Slip]

    def construct_object(self, node: Node, deep: bool = False) -> Any:
        """The data of a node; None for an alias and for what carries a tag."""
        place = _place(node.start_mark)
        if node in self.constructed_objects or node in self.recursive_objects:
            return self._slip(place, "an alias (*) repeats another part of the file", "write it out here")
        if str(node.tag) not in _PLAIN:
            tag = str(node.tag).replace(_TAG, "!!")
            return self._slip(place, f"the tag {tag} is not known", "leave the tag out, or quote the text")
        return super().construct_object(node, deep)

    def check_mapping_key(
        self, node: MappingNode, key_node: Node, mapping: CommentedMap, key: Hashable, value: Any
    ) -> bool:
        """Whether the key is taken."""
        place = _place(key_node.start_mark)
        if not isinstance(key, str):
            written = key_node.value
            self._slip(place, f"the key {written!r} is not a text", f"put it in quotes: '{written}'")
        elif key == "<<":
            self._slip(place, "merge keys (<<) are not used here", "write the keys out")
        elif key in mapping:
            first = mapping.lc.key(key)[0] + 1
            self._slip(place, f"the key '{key}' stands here twice, first in line {first}", "keep one of them")
        else:
            return True
        return False

    def _slip(self, place: Place, wrong: str, right: str) -> None:
        self.slips.append(Slip(place, wrong, right))


def _plain(value: Any) -> Any:
    """The data without the places: what JSON has."""
    match value:
        case dict():
            return {str(key): _plain(part) for key, part in value.items()}
        case list():
            return [_plain(part) for part in value]
        case bool() | None:
            return value
        case int():
            return int(value)
        case float():
            return float(value)
        case _:
            return str(value)


def _place(mark: StringMark) -> Place:
    return _from_zero(mark.line, mark.column)


def _from_zero(line: int, column: int) -> Place:
    return Place(line + 1, column + 1)
