"""The type of a file comes from its bytes; what only looks alike is nothing."""

import io
import struct
import zlib
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pypdf import PdfWriter

from services.materials.rules.media import Media, is_locked, media_of


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


PNG = (
    b"\x89PNG\r\n\x1a\n"
    + chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
    + chunk(b"IDAT", zlib.compress(b"\0\0"))
    + chunk(b"IEND", b"")
)
JPEG = (
    b"\xff\xd8"
    + b"\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"
    + b"\xff\xc0\x00\x0b\x08\x00\x01\x00\x01\x01\x01\x11\x00"
    + b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00\x7f"
    + b"\xff\xd9"
)
PDF = b"%PDF-1.7\n1 0 obj<<>>endobj\nxref\n0 1\ntrailer<<>>\nstartxref\n9\n%%EOF\n"
GOOD = {"application/pdf": PDF, "image/jpeg": JPEG, "image/png": PNG}


def media_type_of(content: bytes) -> str | None:
    """The type of a file that comes in one piece."""
    found = media_of([content])
    return found.type if found else None


def png_of(width: int, height: int) -> bytes:
    """A few bytes that say they are so large."""
    size = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return PNG[:8] + chunk(b"IHDR", size) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("media_type", "content"), GOOD.items())
def test_known_types(media_type: str, content: bytes) -> None:
    assert media_type_of(content) == media_type


@pytest.mark.parametrize(("media_type", "content"), GOOD.items())
@pytest.mark.parametrize("length", [1, 2, 3, 7])
def test_pieces_of_any_length_are_one_file(media_type: str, content: bytes, length: int) -> None:
    pieces = [content[at : at + length] for at in range(0, len(content), length)]
    assert media_of(pieces) == media_of([content])
    assert media_of(pieces[:-1] if len(pieces[-1].strip()) else pieces[:-2]) is None


@pytest.mark.parametrize(
    ("content", "pixels"),
    [
        (PNG, 1),
        (JPEG, 1),
        (png_of(60_000, 60_000), 3_600_000_000),
        (JPEG.replace(b"\x08\x00\x01\x00\x01", b"\x08\xff\xff\xff\xff"), 65_535**2),
    ],
)
def test_a_picture_says_how_large_it_is(content: bytes, pixels: int) -> None:
    found = media_of([content])
    assert found is not None
    assert found.pixels == pixels


@pytest.mark.parametrize("content", GOOD.values())
@pytest.mark.parametrize(
    "prefix", [b" ", b"\n", b"GIF89a", b"<html>", b"PK\x03\x04", b"\xef\xbb\xbf", b"\x00"]
)
def test_what_begins_with_other_bytes_is_nothing(content: bytes, prefix: bytes) -> None:
    assert media_type_of(prefix + content) is None


@pytest.mark.parametrize("content", GOOD.values())
def test_what_stops_short_is_nothing(content: bytes) -> None:
    whole = len(content.rstrip())
    for length in range(whole):
        assert media_type_of(content[:length]) is None, length


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello",
        b"GIF89a" + bytes(40),
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"MZ" + bytes(200),
        b"PK\x03\x04" + bytes(200),
        b"%PDF-1.7 <script>alert(1)</script>",
        b"%PDF-x.y\nstartxref\n%%EOF",
        PNG + b"<html>",
        PNG.replace(b"IDAT", b"IDAU"),
        png_of(0, 10),
        JPEG.replace(b"\x08\x00\x01\x00\x01", b"\x08\x00\x00\x00\x00"),
        b"\xff\xd8\xff\xd9",
        b"\xff\xd8\xff\xe0\x00\x00\xff\xd9",
    ],
)
def test_other_and_broken_files_are_nothing(content: bytes) -> None:
    assert media_type_of(content) is None


@given(st.binary(max_size=300), st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"%PDF-1.4"]))
def test_any_bytes_get_an_answer(content: bytes, magic: bytes) -> None:
    assert media_type_of(magic + content) in {None, *GOOD}


def locked_pdf(user_password: str) -> bytes:
    writer = PdfWriter()
    writer.add_blank_page(72, 72)
    writer.encrypt(user_password, "owner", algorithm="AES-256")
    written = io.BytesIO()
    writer.write(written)
    return written.getvalue()


def test_a_pdf_that_needs_a_password_is_told() -> None:
    assert is_locked(io.BytesIO(locked_pdf("secret")))


def test_a_pdf_that_may_only_not_be_printed_opens() -> None:
    printed = locked_pdf("")
    assert media_type_of(printed) == "application/pdf"
    assert not is_locked(io.BytesIO(printed))
    assert media_of([printed]) == Media("application/pdf", is_encrypted=True)
    assert media_of([PDF]) == Media("application/pdf")


def with_lock(lock: bytes) -> bytes:
    """A PDF whose trailer can be read, with this where it says how it is locked."""
    head = b"%PDF-1.7\n"
    table = b"xref\n0 1\n0000000000 65535 f \ntrailer\n<</Size 1/Root 1 0 R/Encrypt " + lock + b">>\n"
    return head + table + b"startxref\n%d\n%%%%EOF\n" % len(head)


@pytest.mark.parametrize(
    "lock", [b"<</Filter/Standard/V 1/R 2/O(x)/U(x)/P 1>>", b"<</Filter/X>>", b"null", b"7"]
)
def test_a_lock_that_nobody_understands_is_locked(lock: bytes) -> None:
    assert is_locked(io.BytesIO(with_lock(lock)))


@given(st.binary(max_size=200))
def test_no_lock_stops_whoever_looks_at_it(lock: bytes) -> None:
    is_locked(io.BytesIO(with_lock(lock)))


@pytest.mark.parametrize("filler", [b"\xff", b"\xff\xd0"], ids=["fill bytes", "markers"])
def test_a_file_of_nothing_but_markers_is_not_looked_at_to_its_end(filler: bytes) -> None:
    taken = 0

    def pieces() -> Iterator[bytes]:
        nonlocal taken
        yield b"\xff\xd8\xff"
        while True:
            taken += 1
            yield filler * 1000

    assert media_of(pieces()) is None
    assert taken < 100
