"""Loads matter files; whatever is wrong is told with file, line, column and what would be right."""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from shared.catalogue.editor import editor_schema
from shared.catalogue.lint import findings
from shared.catalogue.matter import Matter
from shared.catalogue.positions import Document, Loc, Place, Slip, read_document
from shared.errors import Invalid

BUILT_IN = Path(__file__).parent / "matters"
"""The matters that come with the project."""


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing that is wrong with a matter file."""

    file: str
    place: Place
    wrong: str
    right: str

    def __str__(self) -> str:
        return f"{self.file}:{self.place.line}:{self.place.column}: {self.wrong}; {self.right}"


class MatterFileError(Invalid):
    """Matter files that cannot be used; `problems` has them all, in the order of the files."""

    code = "matter.file-invalid"
    title_zh = "事项文件有误"
    title_en = "The matter file is not valid"

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(set(problems)))
        super().__init__(detail_en="\n".join(str(problem) for problem in self.problems))

    def __str__(self) -> str:
        return self.detail_en


def load_matter(path: Path) -> Matter:
    """The matter in a file. Raises MatterFileError, and OSError when the file cannot be read."""
    try:
        text = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise MatterFileError(
            [Problem(str(path), Place(line, 1), "this is not UTF-8 text", "save the file as UTF-8")]
        ) from None
    return parse_matter(text, str(path))


def parse_matter(text: str, file: str) -> Matter:
    """The matter in a text; `file` is what problems call it. Raises MatterFileError."""
    document = read_document(text)
    if document.slips:
        raise _file_error(file, document.slips)
    try:
        matter = Matter.model_validate(document.data)
    except ValidationError as error:
        details = _without_echoes(error.errors())
        raise _file_error(file, [_slip(document, detail) for detail in details]) from None
    slips = [Slip(document.value_place(found.loc), found.wrong, found.right) for found in findings(matter)]
    if slips:
        raise _file_error(file, slips)
    return matter


def _file_error(file: str, slips: Iterable[Slip]) -> MatterFileError:
    return MatterFileError(Problem(file, slip.place, slip.wrong, slip.right) for slip in slips)


def _without_echoes(details: list[ErrorDetails]) -> list[ErrorDetails]:
    """A mistyped key is unknown, and the right one missing: telling the first is enough."""
    unknown: dict[Loc, list[str]] = {}
    for detail in details:
        if detail["type"] == "extra_forbidden":
            unknown.setdefault(detail["loc"][:-1], []).append(str(detail["loc"][-1]))
    return [
        detail
        for detail in details
        if detail["type"] != "missing"
        or not difflib.get_close_matches(
            str(detail["loc"][-1]), unknown.get(detail["loc"][:-1], []), cutoff=0.6
        )
    ]


def _slip(document: Document, detail: ErrorDetails) -> Slip:
    loc: Loc = tuple(detail["loc"])
    schema = editor_schema()
    match detail["type"]:
        case "extra_forbidden":
            known = sorted(_resolve(schema, loc[:-1]).get("properties", {}))
            return Slip(
                document.place(loc), f"unknown key '{loc[-1]}'", _instead(str(loc[-1]), known, "keys")
            )
        case "missing":
            about = _resolve(schema, loc).get("description", "")
            return Slip(
                document.place(loc), f"'{loc[-1]}' is missing", f"add it{': ' + about if about else ''}"
            )
        case "enum" | "literal_error":
            known = [str(choice) for choice in _resolve(schema, loc).get("enum", [])]
            return Slip(
                document.value_place(loc),
                f"{detail['input']!r} is not a value of '{_name(loc)}'",
                _instead(str(detail["input"]), known, "values"),
            )
        case "string_pattern_mismatch":
            return Slip(
                document.value_place(loc),
                f"{detail['input']!r} does not have the form of '{_name(loc)}'",
                f"it must match {detail['ctx']['pattern']}",
            )
        case _:
            return Slip(document.value_place(loc), f"'{_name(loc)}' is not right", _expected(detail))


def _expected(detail: ErrorDetails) -> str:
    said = detail["msg"].removeprefix("Value error, ")
    said = said.replace("Input should be", "it must be").replace("String should", "the text must")
    if detail["type"] == "string_type" and isinstance(detail["input"], int | float):
        return f"{said}; put it in quotes: '{detail['input']}'"
    return said


def _instead(given: str, known: list[str], what: str) -> str:
    close = difflib.get_close_matches(given, known, n=1, cutoff=0.6)
    return f"did you mean '{close[0]}'?" if close else f"the {what} here are: {', '.join(known)}"


def _name(loc: Loc) -> str:
    """The last name of a path; a number in a list says little by itself."""
    names = [part for part in loc if isinstance(part, str) and part != "[key]"]
    return names[-1] if names else "the matter"


def _resolve(schema: Mapping[str, Any], loc: Loc) -> Mapping[str, Any]:
    """The part of the editor schema that describes `loc`; empty when there is none."""
    at: Mapping[str, Any] = schema
    for part in loc:
        at = _open(schema, at)
        inner = at.get("items") if isinstance(part, int) else at.get("properties", {}).get(part)
        at = inner or at.get("additionalProperties") or {}
        if not isinstance(at, Mapping):
            return {}
    return {**_open(schema, at), **{k: v for k, v in at.items() if k == "description"}}


def _open(root: Mapping[str, Any], part: Mapping[str, Any]) -> Mapping[str, Any]:
    """Follow references, and look through `or null`."""
    for _ in range(5):
        if "$ref" in part:
            part = root["$defs"][part["$ref"].rsplit("/", 1)[-1]]
        elif "anyOf" in part:
            part = next(one for one in part["anyOf"] if one.get("type") != "null")
        else:
            break
    return part
