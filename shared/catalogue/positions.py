"""Reads a YAML file so that everything in it knows its line and column.

The dialect is JSON's data model: YAML 1.2 core scalars (`07`, `yes` and `2026-03-01` are texts), text keys,
no anchors, no tags, no duplicate keys.
"""

import re
from dataclasses import dataclass, field
from typing import Any

import yaml

Loc = tuple[str | int, ...]


class _Loader(yaml.SafeLoader):
    """SafeLoader with the scalars of YAML 1.2 core only."""


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("null", r"~|null|", ["~", "n", ""]),
    ("bool", r"true|false", list("tf")),
    ("int", r"-?(0|[1-9][0-9]*)", list("-0123456789")),
    ("float", r"-?(0|[1-9][0-9]*)\.[0-9]+", list("-0123456789")),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_pattern})\Z"), _first)

_PLAIN = {f"tag:yaml.org,2002:{kind}" for kind in ("null", "bool", "int", "float", "str", "map", "seq")}


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
    keys: dict[Loc, Place] = field(default_factory=dict)
    values: dict[Loc, Place] = field(default_factory=dict)
    slips: list[Slip] = field(default_factory=list)

    def place(self, loc: Loc) -> Place:
        """Where `loc` stands: its key if it has one, else the nearest thing around it."""
        for end in range(len(loc), -1, -1):
            known = self.keys.get(loc[:end]) or self.values.get(loc[:end])
            if known:
                return known
        return Place(1, 1)

    def value_place(self, loc: Loc) -> Place:
        """Where the value of `loc` stands."""
        return self.values.get(loc) or self.place(loc)


def read_document(text: str) -> Document:
    """Compose the text. Whatever is wrong is in `slips`; the data is usable only without any."""
    document = Document()
    try:
        root = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(mark.line + 1, mark.column + 1) if mark else Place(1, 1)
        document.slips.append(Slip(place, f"not YAML: {error.problem}", "mend the YAML at this place"))
        return document
    except yaml.YAMLError as error:
        document.slips.append(Slip(Place(1, 1), f"not YAML: {error}", "save the file as UTF-8 text"))
        return document
    if root is None:
        document.slips.append(Slip(Place(1, 1), "the file is empty", "describe one matter in it"))
        return document
    document.data = _Reader(document).read(root, ())
    return document


class _Reader:
    def __init__(self, document: Document) -> None:
        self._document = document
        self._seen: set[int] = set()

    def read(self, node: yaml.Node, loc: Loc) -> Any:
        place = _place(node)
        self._document.values[loc] = place
        if id(node) in self._seen:
            return self._slip(place, "an alias (*) repeats another part of the file", "write it out here")
        self._seen.add(id(node))
        if node.tag not in _PLAIN:
            return self._slip(
                place, f"the tag {_short(node.tag)} is not known", "leave the tag out, or quote the text"
            )
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, loc)
        if isinstance(node, yaml.SequenceNode):
            return [self.read(item, (*loc, number)) for number, item in enumerate(node.value)]
        return _scalar(node)

    def _mapping(self, node: yaml.MappingNode, loc: Loc) -> dict[str, Any]:
        read: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key, place = _scalar(key_node), _place(key_node)
            if not isinstance(key, str):
                self._slip(
                    place,
                    f"the key {key_node.value!r} is not a text",
                    f"put it in quotes: '{key_node.value}'",
                )
                continue
            if key == "<<":
                self._slip(place, "merge keys (<<) are not used here", "write the keys out")
                continue
            if key in read:
                first = self._document.keys[(*loc, key)]
                self._slip(
                    place,
                    f"the key '{key}' stands here twice, first in line {first.line}",
                    "keep one of them",
                )
                continue
            self._document.keys[(*loc, key)] = place
            read[key] = self.read(value_node, (*loc, key))
        return read

    def _slip(self, place: Place, wrong: str, right: str) -> None:
        self._document.slips.append(Slip(place, wrong, right))


def _scalar(node: yaml.Node) -> Any:
    kind = node.tag.rsplit(":", 1)[-1]
    match kind:
        case "null":
            return None
        case "bool":
            return node.value == "true"
        case "int":
            return int(node.value)
        case "float":
            return float(node.value)
        case _:
            return node.value


def _place(node: yaml.Node) -> Place:
    return Place(node.start_mark.line + 1, node.start_mark.column + 1)


def _short(tag: str) -> str:
    return tag.replace("tag:yaml.org,2002:", "!!")
