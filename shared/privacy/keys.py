"""Data keys: one per service and time, stored wrapped under the master key, which is not in the database."""

import os
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from shared.errors import AppError
from shared.privacy.ciphers import AES_256_GCM, Cipher, NotAuthentic, derive

_DATA_KEY_BYTES = 32


class VaultError(AppError):
    """Sealed data cannot be read or written. The details never hold the data."""

    code = "privacy.vault-error"
    title_zh = "加密数据无法处理"
    title_en = "Sealed data cannot be handled"


class KeyState(StrEnum):
    """`active` seals and opens, `retired` only opens."""

    ACTIVE = "active"
    RETIRED = "retired"


@dataclass(frozen=True, slots=True)
class WrappedKey:
    """One row of <schema>.data_keys: a data key that is useless without the master key."""

    key_id: int
    wrapped: bytes
    state: KeyState = KeyState.ACTIVE


class DataKeyStore(Protocol):
    """Where wrapped keys lie; the table of a service, or a list in a test."""

    def load(self, service: str) -> list[WrappedKey]:
        """All keys of the service, oldest first."""

    def add(self, service: str, key: WrappedKey) -> None:
        """Keep a new key, committed when this returns; nothing when another process was first with its id."""


class Keyring:
    """The unwrapped data keys of one service, in memory only.

    Keys are read at the first use, and again when a ciphertext names one that is not known yet, because
    another process may have rotated.
    """

    def __init__(self, service: str, master_key: bytes, store: DataKeyStore) -> None:
        if len(master_key) != 32:
            raise VaultError("", "the master key must be 32 bytes")
        self._service = service
        self._store = store
        self._wrapping_key = derive(master_key, f"onestop/wrap/{service}")
        self._keys: dict[int, bytes] = {}
        self._current: int | None = None

    def refresh(self) -> None:
        """Read the keys again."""
        rows = self._store.load(self._service)
        active = [row.key_id for row in rows if row.state is KeyState.ACTIVE]
        self._keys = {row.key_id: self._unwrap(row) for row in rows}
        self._current = active[-1] if active else None

    def rotate(self) -> int:
        """Make a new key and seal with it from now on. Older keys go on opening what they sealed."""
        # Two at once take the same id; the store keeps one of them, and both seal with that one.
        key_id = max((row.key_id for row in self._store.load(self._service)), default=0) + 1
        key = os.urandom(_DATA_KEY_BYTES)
        wrapped = AES_256_GCM.seal(self._wrapping_key, key, self._place(key_id))
        self._store.add(self._service, WrappedKey(key_id, wrapped))
        self.refresh()
        return key_id

    def sealing_key(self, cipher: Cipher) -> tuple[int, bytes]:
        """Id and key to seal with now; whoever seals first makes the first one.

        Raises VaultError when all of them are retired.
        """
        if self._current is None:
            self.refresh()
        if self._current is None and not self._keys:
            self.rotate()
        if self._current is None:
            raise VaultError("", f"{self._service} has no active data key")
        return self._current, self._for(cipher, self._keys[self._current])

    def opening_key(self, key_id: int, cipher: Cipher) -> bytes:
        """The key that a ciphertext names. Raises VaultError when it is not there any more."""
        if key_id not in self._keys:
            self.refresh()
        if key_id not in self._keys:
            raise VaultError("", f"{self._service} has no data key {key_id}")
        return self._for(cipher, self._keys[key_id])

    def _for(self, cipher: Cipher, key: bytes) -> bytes:
        # One key must never serve two ciphers, so each gets one derived for it.
        return key if cipher is AES_256_GCM else derive(key, f"onestop/{cipher.name}", cipher.key_bytes)

    def _unwrap(self, row: WrappedKey) -> bytes:
        try:
            return AES_256_GCM.open(self._wrapping_key, row.wrapped, self._place(row.key_id))
        except NotAuthentic:
            reason = f"data key {row.key_id} of {self._service} was not wrapped with this master.key"
            raise VaultError("", f"{reason}; restore the right one") from None

    def _place(self, key_id: int) -> bytes:
        return f"data-key|{self._service}|{key_id}".encode()
