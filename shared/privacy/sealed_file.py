"""A file on its way in: no plain text of it touches a disk.

It lies in a nameless temporary file, sealed piece by piece (AES-256-GCM) under a key that only this process
has, only for this file, and only until it is closed. The nonce is the number of the piece, which makes one
sealed sequence of them: a piece that is missing, moved or of another file does not open.
"""

import hashlib
import io
import tempfile
from collections.abc import Iterator
from typing import Any, BinaryIO

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

PIECE = 256 * 1024
"""Bytes of one piece; the last one may be shorter."""
_TAG = 16


class SealedFile:
    """Written once, in slices of any length; then read piece by piece, as often as anybody wants."""

    def __init__(self) -> None:
        self._cipher = AESGCM(AESGCM.generate_key(256))
        self._file: BinaryIO | None = None
        self._sealed = 0
        self._rest = bytearray()
        self._digest = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        """Add to its end."""
        self._digest.update(data)
        self.size += len(data)
        self._rest += data
        while len(self._rest) >= PIECE:
            if self._file is None:
                self._file = tempfile.TemporaryFile()  # noqa: SIM115 (closed by `close`)
            self._file.write(self._cipher.encrypt(_nonce(self._sealed), bytes(self._rest[:PIECE]), None))
            self._sealed += 1
            del self._rest[:PIECE]
        return len(data)

    def pieces(self) -> Iterator[bytes]:
        """What was written, from the beginning."""
        for number in range(-(-self.size // PIECE)):
            yield self.piece(number)

    def piece(self, number: int) -> bytes:
        """One piece; b"" after the last one."""
        if number >= self._sealed:
            return bytes(self._rest) if number == self._sealed else b""
        assert self._file is not None
        self._file.seek(number * (PIECE + _TAG))
        return self._cipher.decrypt(_nonce(number), self._file.read(PIECE + _TAG), None)

    def opened(self) -> BinaryIO:
        """The same to read anywhere in, for parsers that jump; a piece in plain text at a time."""
        return io.BufferedReader(_Opened(self), buffer_size=PIECE)

    @property
    def sha256(self) -> str:
        """Of all that was written, in hex."""
        return self._digest.hexdigest()

    def seek(self, offset: int) -> int:
        """Whoever parses a form goes back to its beginning; every reading begins there anyway."""
        return offset

    def close(self) -> None:
        """Let go of it. Twice does no harm."""
        if self._file is not None:
            self._file.close()
        self._rest.clear()


class _Opened(io.RawIOBase):
    """A sealed file as one that is read from any place on."""

    def __init__(self, file: SealedFile) -> None:
        self._of = file
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._of.size}[whence]
        self._at = max(0, start + offset)
        return self._at

    def readinto(self, buffer: Any, /) -> int:
        view = memoryview(buffer)
        number, offset = divmod(self._at, PIECE)
        part = self._of.piece(number)[offset : offset + len(view)]
        view[: len(part)] = part
        self._at += len(part)
        return len(part)


def _nonce(number: int) -> bytes:
    return number.to_bytes(12, "big")
