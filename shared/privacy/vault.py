"""Sealing of columns: what lies in the database opens only in the place that it was sealed for."""

import hmac
from hashlib import sha256

from shared.privacy.ciphers import AES_256_GCM, CIPHERS, Cipher, NotAuthentic
from shared.privacy.keys import DataKeyStore, Keyring, MasterKeys, VaultError

_VERSION = 1
_LOOKUP = 0x80
"""Stands where a cipher's code stands: keyed HMAC-SHA256."""
_KEY_ID_BYTES = 4
_HEADER_BYTES = 2 + _KEY_ID_BYTES


class Vault:
    """Seals and opens the personal data of one service. It never logs, and its errors hold no data.

    A blob is version (1 byte), algorithm (1), key id (4), nonce (12), ciphertext and tag (16). Header and
    place (service, table, row, column) are authenticated: a blob copied to another row does not open.
    """

    def __init__(
        self,
        service: str,
        master_keys: MasterKeys,
        data_keys: DataKeyStore,
        *,
        cipher: Cipher = AES_256_GCM,
    ) -> None:
        self.keyring = Keyring(service, master_keys, data_keys)
        self._service = service
        self._cipher = cipher

    def seal(self, plaintext: str | bytes, *, table: str, row: object, column: str) -> bytes:
        """Encrypt one value for one place. `row` is the row's key (a UUID, a number, a text)."""
        data = plaintext.encode() if isinstance(plaintext, str) else plaintext
        key_id, key = self.keyring.sealing_key(self._cipher)
        header = _header(self._cipher.code, key_id)
        return header + self._cipher.seal(key, data, self._place(header, table, row, column))

    def open(self, blob: bytes | memoryview, *, table: str, row: object, column: str) -> str:
        """Decrypt a text. Raises VaultError for another place, another key or a changed blob."""
        data = self.open_bytes(blob, table=table, row=row, column=column)
        try:
            return data.decode()
        except UnicodeDecodeError:
            raise VaultError("", f"{table}.{column} does not hold text; use open_bytes") from None

    def open_bytes(self, blob: bytes | memoryview, *, table: str, row: object, column: str) -> bytes:
        """Decrypt bytes. Raises VaultError as `open` does."""
        blob = bytes(blob)
        header = blob[:_HEADER_BYTES]
        cipher = CIPHERS.get(header[1]) if len(header) == _HEADER_BYTES and header[0] == _VERSION else None
        if cipher is None:
            raise VaultError("", f"{table}.{column} does not hold a sealed value of a known version")
        key = self.keyring.opening_key(int.from_bytes(header[2:], "big"), cipher)
        try:
            return cipher.open(key, blob[_HEADER_BYTES:], self._place(header, table, row, column))
        except NotAuthentic:
            raise VaultError("", f"{table}.{column} was changed, or sealed for another place") from None

    def key_of(self, blob: bytes | memoryview) -> int:
        """The id of the data key that a blob was sealed with; a re-sealing run asks for it."""
        header = bytes(blob[:_HEADER_BYTES])
        if len(header) != _HEADER_BYTES:
            raise VaultError("", "this is not a sealed value")
        return int.from_bytes(header[2:], "big")

    def lookup(self, value: str, *, kind: str) -> bytes:
        """What to write beside a sealed value, to find it again by equality: version, algorithm and key id as
        in a blob, then a keyed HMAC-SHA256 (32 bytes). The caller normalises the value.
        """
        return self.lookups(value, kind=kind)[-1]

    def lookups(self, value: str, *, kind: str) -> list[bytes]:
        """The same under every key that something may still stand under, the oldest first: what to look for.

        Each has a key of its own for service and kind. While keys are rotated there are two.
        """
        keys = self.keyring.lookup_keys(kind)
        return [
            _header(_LOOKUP, key_id) + hmac.digest(key, value.encode(), sha256)
            for key_id, key in keys.items()
        ]

    def _place(self, header: bytes, table: str, row: object, column: str) -> bytes:
        # Lengths in front keep ("a", "bc") and ("ab", "c") apart.
        parts = (header, *(part.encode() for part in (self._service, table, str(row), column)))
        return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def _header(code: int, key_id: int) -> bytes:
    return bytes((_VERSION, code)) + key_id.to_bytes(_KEY_ID_BYTES, "big")
