"""Sealing of columns: what lies in the database opens only in the place that it was sealed for."""

import hmac
from hashlib import sha256

from shared.privacy.ciphers import AES_256_GCM, CIPHERS, Cipher, NotAuthentic, derive
from shared.privacy.keys import DataKeyStore, Keyring, VaultError

_VERSION = 1
_KEY_ID_BYTES = 4
_HEADER_BYTES = 2 + _KEY_ID_BYTES


class Vault:
    """Seals and opens the personal data of one service. It never logs, and its errors hold no data.

    A blob is version (1 byte), algorithm (1), key id (4), nonce (12), ciphertext and tag (16). Header and
    place (service, table, row, column) are authenticated: a blob copied to another row does not open.
    """

    def __init__(
        self, service: str, master_key: bytes, data_keys: DataKeyStore, *, cipher: Cipher = AES_256_GCM
    ) -> None:
        self.keyring = Keyring(service, master_key, data_keys)
        self._service = service
        self._master_key = master_key
        self._cipher = cipher
        self._lookup_keys: dict[str, bytes] = {}

    def seal(self, plaintext: str | bytes, *, table: str, row: object, column: str) -> bytes:
        """Encrypt one value for one place. `row` is the row's key (a UUID, a number, a text)."""
        data = plaintext.encode() if isinstance(plaintext, str) else plaintext
        key_id, key = self.keyring.sealing_key(self._cipher)
        header = bytes((_VERSION, self._cipher.code)) + key_id.to_bytes(_KEY_ID_BYTES, "big")
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
        """A keyed HMAC-SHA256, to find a sealed value again by equality. The caller normalises the value.

        Its key hangs on master key, service and kind, not on the data keys: rotation changes no look-up.
        """
        key = self._lookup_keys.get(kind)
        if key is None:
            key = self._lookup_keys[kind] = derive(self._master_key, f"onestop/lookup/{self._service}/{kind}")
        return hmac.digest(key, value.encode(), sha256)

    def _place(self, header: bytes, table: str, row: object, column: str) -> bytes:
        # Lengths in front keep ("a", "bc") and ("ab", "c") apart.
        parts = (header, *(part.encode() for part in (self._service, table, str(row), column)))
        return b"".join(len(part).to_bytes(4, "big") + part for part in parts)
