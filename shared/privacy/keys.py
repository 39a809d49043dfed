"""Data keys: one per service and time, stored wrapped under the master key, which is not in the database."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from shared.errors import AppError
from shared.privacy.ciphers import AES_256_GCM, Cipher, NotAuthentic, derive

_DATA_KEY_BYTES = 32
_READINGS = 3
"""How often keys and master keys are read until they fit: `onestop keys rewrap` changes both, one by one."""

MasterKeys = Callable[[], Sequence[bytes]]
"""Reads the master keys in force: one, and while the data keys are wrapped anew the coming one after it."""


class VaultError(AppError):
    """Sealed data cannot be read or written. The details never hold the data."""

    code = "privacy.vault-error"
    title_zh = "加密数据无法处理"
    title_en = "Sealed data cannot be handled"


class ForeignMasterKey(VaultError):
    """The master key is not the one that the data keys were wrapped with. Nothing was changed."""

    code = "settings.foreign-master-key"
    title_zh = "主密钥不是加密数据密钥时所用的那一个"
    title_en = "This is not the master key that the data keys were wrapped with"


class KeyState(StrEnum):
    """`active` seals and opens; `retiring` opens until nothing is sealed under it; `retired` is destroyed."""

    ACTIVE = "active"
    RETIRING = "retiring"
    RETIRED = "retired"


@dataclass(frozen=True, slots=True)
class WrappedKey:
    """One row of <schema>.data_keys: a data key that is useless without the master key."""

    key_id: int
    wrapped: bytes
    state: KeyState = KeyState.ACTIVE


MakeKey = Callable[[Sequence[WrappedKey]], WrappedKey | None]
"""From all keys that there are, the one to begin with; None leaves them as they are."""


class DataKeyStore(Protocol):
    """Where wrapped keys lie; the table of a service, or a list in a test."""

    def load(self, service: str) -> list[WrappedKey]:
        """All keys of the service, oldest first."""

    def activate(self, service: str, make: MakeKey, by: str) -> None:
        """Keep the key that `make` makes as the active one, and the one before it as retiring.

        Nobody else changes the keys meanwhile. Committed when this returns.
        """


class Wrapping:
    """Wraps and unwraps the data keys of one service under the master keys in force."""

    def __init__(self, service: str, master_keys: Sequence[bytes]) -> None:
        if not master_keys or any(len(key) != 32 for key in master_keys):
            raise VaultError("", "the master key must be 32 bytes")
        self._service = service
        self._keys = [derive(key, f"onestop/wrap/{service}") for key in master_keys]

    def unwrap(self, row: WrappedKey) -> bytes:
        """The data key. Raises ForeignMasterKey."""
        return self._opened(row)[1]

    def make(self, rows: Sequence[WrappedKey]) -> WrappedKey:
        """A new data key, wrapped as those before it: who wraps all of them anew finds this one, too."""
        key_id = max((row.key_id for row in rows), default=0) + 1
        usable = [row for row in rows if row.state is not KeyState.RETIRED]
        wrapping_key = self._opened(usable[-1])[0] if usable else self._keys[-1]
        return self._wrapped(wrapping_key, key_id, os.urandom(_DATA_KEY_BYTES), KeyState.ACTIVE)

    def wrap_anew(self, row: WrappedKey) -> WrappedKey:
        """The same data key under the last of the master keys. Raises ForeignMasterKey."""
        return self._wrapped(self._keys[-1], row.key_id, self.unwrap(row), row.state)

    def _wrapped(self, wrapping_key: bytes, key_id: int, key: bytes, state: KeyState) -> WrappedKey:
        return WrappedKey(key_id, AES_256_GCM.seal(wrapping_key, key, self._place(key_id)), state)

    def _opened(self, row: WrappedKey) -> tuple[bytes, bytes]:
        for wrapping_key in self._keys:
            try:
                return wrapping_key, AES_256_GCM.open(wrapping_key, row.wrapped, self._place(row.key_id))
            except NotAuthentic:
                continue
        raise ForeignMasterKey(
            f"{self._service} 的数据密钥 {row.key_id} 不是用这个 master.key 加密的；请恢复原来的文件",
            f"data key {row.key_id} of {self._service} was not wrapped with this master.key; "
            "restore the right one",
        )

    def _place(self, key_id: int) -> bytes:
        return f"data-key|{self._service}|{key_id}".encode()


class Keyring:
    """The unwrapped data keys of one service, in memory only.

    Keys are read at the first use; again when a ciphertext names one that is not known yet, because another
    process may have rotated; and again after the database has refused what was sealed under a key that does
    not seal any more (`look_again`).
    """

    def __init__(self, service: str, master_keys: MasterKeys, store: DataKeyStore) -> None:
        self._service = service
        self._master_keys = master_keys
        self._store = store
        self._keys: dict[int, bytes] = {}
        self._current: int | None = None
        Wrapping(service, master_keys())

    @property
    def current(self) -> int | None:
        """Id of the key that seals, as far as this process knows; None before the first use."""
        return self._current

    def refresh(self) -> None:
        """Read the keys again. Raises ForeignMasterKey."""
        for reading in range(1, _READINGS + 1):
            wrapping = Wrapping(self._service, self._master_keys())
            rows = [row for row in self._store.load(self._service) if row.state is not KeyState.RETIRED]
            try:
                keys = {row.key_id: wrapping.unwrap(row) for row in rows}
            except ForeignMasterKey:
                if reading == _READINGS:
                    raise
                continue
            active = [row.key_id for row in rows if row.state is KeyState.ACTIVE]
            self._keys, self._current = keys, active[-1] if active else None
            return

    def look_again(self) -> None:
        """Another process has rotated: read the keys before anything is sealed again."""
        self._current = None

    def rotate(self, by: str = "") -> int:
        """Seal under a new key from now on, unless an earlier rotation is not over; id of the key that seals.

        From the commit on the database takes nothing more that is sealed under an older key, from nobody.
        """

        def make(rows: Sequence[WrappedKey]) -> WrappedKey | None:
            if any(row.state is KeyState.RETIRING for row in rows):
                return None
            return Wrapping(self._service, self._master_keys()).make(rows)

        return self._activate(make, by)

    def sealing_key(self, cipher: Cipher) -> tuple[int, bytes]:
        """Id and key to seal with now; whoever seals first makes the first one.

        Raises VaultError when there are keys and none is active.
        """
        key_id = self._active()
        return key_id, self._for(cipher, self._keys[key_id])

    def opening_key(self, key_id: int, cipher: Cipher) -> bytes:
        """The key that a ciphertext names. Raises VaultError when it is not there any more."""
        if key_id not in self._keys:
            self.refresh()
        if key_id not in self._keys:
            raise VaultError("", f"{self._service} has no data key {key_id}")
        return self._for(cipher, self._keys[key_id])

    def lookup_keys(self, kind: str) -> dict[int, bytes]:
        """Keys for look-ups of one kind by id, the oldest first; the last one is for what is written now."""
        active = self._active()
        purpose = f"onestop/lookup/{self._service}/{kind}"
        ids = sorted(key_id for key_id in self._keys if key_id <= active)
        return {key_id: derive(self._keys[key_id], purpose) for key_id in ids}

    def _active(self) -> int:
        if self._current is None:
            self.refresh()
        if self._current is not None:
            return self._current
        return self._activate(
            lambda rows: None if rows else Wrapping(self._service, self._master_keys()).make(rows), ""
        )

    def _activate(self, make: MakeKey, by: str) -> int:
        self._store.activate(self._service, make, by)
        self.refresh()
        if self._current is None:
            raise VaultError("", f"{self._service} has no active data key")
        return self._current

    def _for(self, cipher: Cipher, key: bytes) -> bytes:
        # One key must never serve two ciphers, so each gets one derived for it.
        return key if cipher is AES_256_GCM else derive(key, f"onestop/{cipher.name}", cipher.key_bytes)
