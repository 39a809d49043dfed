"""Files that go out, piece by piece: to people with a name they can read, and never run or shown in our
origin."""

from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from typing import Any
from urllib.parse import quote

from starlette.responses import Response, StreamingResponse

from shared.ask import NAME_HEADER, FileAnswer

_ENDINGS = {"application/pdf": ".pdf", "image/jpeg": ".jpg", "image/png": ".png"}
DOWNLOAD: dict[int | str, dict[str, Any]] = {
    200: {
        "headers": {
            "Content-Disposition": {
                "description": "the name to save it under",
                "required": True,
                "schema": {"type": "string"},
            }
        },
        "content": {kind: {"schema": {"type": "string", "format": "binary"}} for kind in _ENDINGS},
    }
}
"""What the document says of an answer that is a file."""


def attachment(file: FileAnswer, *, name: str, plain_name: str) -> Response:
    """A file to save under `name`, which may be Chinese; clients that cannot read that take `plain_name`.

    Both come without an ending: it follows from the media type. RFC 6266 and RFC 8187.
    """
    ending = _ENDINGS[file.media_type]
    disposition = (
        f"attachment; filename=\"{plain_name}{ending}\"; filename*=UTF-8''{quote(name + ending, safe='')}"
    )
    return _response(file, {"Content-Disposition": disposition})


def between_services(file: FileAnswer) -> Response:
    """The same for another service, which asked for it."""
    return _response(file, {NAME_HEADER: file.name})


def _response(file: FileAnswer, headers: Mapping[str, str]) -> Response:
    # The first piece is read now: what is wrong from the beginning is still an answer of its own.
    first = next(file.pieces, b"")
    sent = {"Content-Length": str(file.size), "Cache-Control": "no-store", **headers}
    return StreamingResponse(_closing(first, file.pieces), media_type=file.media_type, headers=sent)


def _closing(first: bytes, rest: Generator[bytes]) -> Iterator[bytes]:
    with closing(rest):
        yield first
        yield from rest
