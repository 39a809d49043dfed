"""The type of a file by what it holds, never by its name: PDF, JPEG and PNG, or nothing.

A file comes in pieces of any length and is looked at once, from its beginning to its end. Whether one opens
is asked of a file that can be read anywhere.
"""

import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

PDF, JPEG, PNG = "application/pdf", "image/jpeg", "image/png"
MOST_PIXELS = 100_000_000
"""More than any camera that people carry makes; a small file can say of itself that it has billions, and
whoever opens it needs memory for all of them."""

_MOST_MARKERS = 10_000
"""Before the first scan of a picture. Cameras write some tens; a file of nothing else takes long to read."""
_PDF_HEADER = re.compile(rb"%PDF-[12]\.[0-9]")
_PDF_TAIL_BYTES = 1024
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_JPEG_ALONE = frozenset({0x01, *range(0xD0, 0xD8)})
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


@dataclass(frozen=True, slots=True)
class Media:
    """What a file is; `pixels` of a picture, by its own word; whether a PDF speaks of encryption."""

    type: str
    pixels: int = 0
    is_encrypted: bool = False


def media_of(pieces: Iterable[bytes]) -> Media | None:
    """PDF, JPEG or PNG; None for anything else, also when the file begins with other bytes or stops short."""
    file = _Bytes(pieces)
    start = file.peek(len(_PNG_SIGNATURE))
    if start == _PNG_SIGNATURE:
        return _png(file)
    if start.startswith(b"\xff\xd8\xff"):
        return _jpeg(file)
    return _pdf(file) if _PDF_HEADER.match(start) else None


def is_locked(file: BinaryIO) -> bool:
    """Whether an encrypted PDF cannot be read without a password, or at all. One that only forbids to print
    or to copy opens."""
    # A tenth of the memory of a web process, for one file in thousands.
    from pypdf import PdfReader

    try:
        reader = PdfReader(file)
        return reader.is_encrypted and not reader.decrypt("")
    except Exception:
        # pypdf promises no list of what it raises; what it cannot open, an officer cannot either.
        return True


class _Bytes:
    """Bytes that come in pieces, so many at a time."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._rest, self._at = b"", 0

    def peek(self, count: int) -> bytes:
        """The next bytes, still to be taken; fewer at the end."""
        while len(self._rest) - self._at < count and (piece := next(self._pieces, None)) is not None:
            self._rest, self._at = self._rest[self._at :] + piece, 0
        return self._rest[self._at : self._at + count]

    def take(self, count: int) -> bytes:
        """The next bytes; fewer at the end."""
        taken = self.peek(count)
        self._at += len(taken)
        return taken

    def each(self, count: int | None = None) -> Iterator[bytes]:
        """The next bytes, or all that are left, as they come."""
        while (count is None or count > 0) and self.peek(1):
            at_hand = len(self._rest) - self._at
            part = self.take(at_hand if count is None else min(count, at_hand))
            count = None if count is None else count - len(part)
            yield part


def _pdf(file: _Bytes) -> Media | None:
    # Readers search the first and last kilobyte; we insist on the first byte, so that a file that is also
    # something else (GIFAR, HTML) is not taken for a PDF.
    tail, is_encrypted = b"", False
    for part in file.each():
        is_encrypted = is_encrypted or b"/Encrypt" in tail[-8:] + part
        tail = (tail + part)[-_PDF_TAIL_BYTES:]
    whole = b"startxref" in tail and b"%%EOF" in tail
    return Media(PDF, is_encrypted=is_encrypted) if whole else None


def _png(file: _Bytes) -> Media | None:
    """Signature, IHDR first, image data, every chunk intact, IEND at the very end."""
    file.take(len(_PNG_SIGNATURE))
    pixels, has_data = 0, False
    while len(head := file.take(8)) == 8:
        length, kind = int.from_bytes(head[:4], "big"), head[4:]
        if not pixels:
            size = file.peek(8)
            pixels = int.from_bytes(size[:4], "big") * int.from_bytes(size[4:], "big")
            if kind != b"IHDR" or not pixels:
                return None
        if not _is_intact(file, kind, length):
            return None
        has_data = has_data or kind == b"IDAT"
        if kind == b"IEND":
            return Media(PNG, pixels) if has_data and not file.peek(1) else None
    return None


def _is_intact(file: _Bytes, kind: bytes, length: int) -> bool:
    check, left = zlib.crc32(kind), length
    for part in file.each(length):
        check, left = zlib.crc32(part, check), left - len(part)
    return left == 0 and file.take(4) == check.to_bytes(4, "big")


def _jpeg(file: _Bytes) -> Media | None:
    """SOI, well-formed segments with a frame up to the first scan, and an end of image after it."""
    file.take(2)
    pixels = 0
    for _ in range(_MOST_MARKERS):
        if len(file.peek(4)) < 4 or file.peek(1) != b"\xff":
            return None
        marker = file.peek(2)[1]
        if marker == 0xFF:
            file.take(1)
        elif marker in _JPEG_ALONE:
            file.take(2)
        elif marker == 0xDA:
            return Media(JPEG, pixels) if pixels and _has_end(file) else None
        else:
            length = max(int.from_bytes(file.take(4)[2:], "big"), 2) - 2
            if marker in _JPEG_FRAMES and length >= 5:
                size = file.peek(5)
                pixels = max(pixels, int.from_bytes(size[1:3], "big") * int.from_bytes(size[3:5], "big"))
            for _part in file.each(length):
                continue
    return None


def _has_end(file: _Bytes) -> bool:
    last = b""
    for part in file.each():
        if b"\xff\xd9" in last + part:
            return True
        last = part[-1:]
    return False
