"""The type of a file by what it holds, never by its name: PDF, JPEG and PNG, or nothing;
and whether it opens."""

import io
import re
import zlib

from pypdf import PdfReader
from pypdf.errors import PyPdfError

PDF, JPEG, PNG = "application/pdf", "image/jpeg", "image/png"

_PDF_HEADER = re.compile(rb"%PDF-[12]\.[0-9]")
_PDF_TAIL_BYTES = 1024
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_JPEG_ALONE = frozenset({0x01, *range(0xD0, 0xD8)})
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def media_type_of(content: bytes) -> str | None:
    """PDF, JPEG or PNG; None for anything else, also when the file begins with other bytes or stops short."""
    if _is_pdf(content):
        return PDF
    if _is_png(content):
        return PNG
    return JPEG if _is_jpeg(content) else None


def is_locked(content: bytes) -> bool:
    """Whether a PDF shows nothing without a password. One that only forbids to print or to copy opens."""
    if b"/Encrypt" not in content or not _is_pdf(content):
        return False
    try:
        reader = PdfReader(io.BytesIO(content))
        return reader.is_encrypted and not reader.decrypt("")
    except (PyPdfError, ValueError, KeyError, TypeError, AttributeError, RecursionError, NotImplementedError):
        # Nobody can tell how it is locked, so nobody can open it.
        return True


def _is_pdf(content: bytes) -> bool:
    # Readers search the first and last kilobyte; we insist on the first byte, so that a file that is also
    # something else (GIFAR, HTML) is not taken for a PDF.
    tail = content[-_PDF_TAIL_BYTES:]
    return _PDF_HEADER.match(content) is not None and b"startxref" in tail and b"%%EOF" in tail


def _is_png(content: bytes) -> bool:
    """Signature, IHDR first, image data, every chunk intact, IEND at the very end."""
    if not content.startswith(_PNG_SIGNATURE) or content[12:16] != b"IHDR":
        return False
    at, has_data = len(_PNG_SIGNATURE), False
    while at + 12 <= len(content):
        end = at + 12 + int.from_bytes(content[at : at + 4], "big")
        body, check = content[at + 4 : end - 4], content[end - 4 : end]
        if end > len(content) or zlib.crc32(body).to_bytes(4, "big") != check:
            return False
        kind, at = body[:4], end
        has_data = has_data or kind == b"IDAT"
        if kind == b"IEND":
            return has_data and at == len(content)
    return False


def _is_jpeg(content: bytes) -> bool:
    """SOI, well-formed segments with a frame up to the first scan, and an end of image after it."""
    if not content.startswith(b"\xff\xd8\xff"):
        return False
    at, has_frame = 2, False
    while at + 4 <= len(content) and content[at] == 0xFF:
        marker = content[at + 1]
        if marker == 0xFF:
            at += 1
        elif marker in _JPEG_ALONE:
            at += 2
        elif marker == 0xDA:
            return has_frame and content.find(b"\xff\xd9", at + 2) != -1
        else:
            has_frame = has_frame or marker in _JPEG_FRAMES
            at += 2 + max(int.from_bytes(content[at + 2 : at + 4], "big"), 2)
    return False
