"""The sealing algorithms. One byte in every ciphertext says which, so that another can take over any day."""

import os
from collections.abc import Callable
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher as Primitive
from cryptography.hazmat.primitives.ciphers import algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

NONCE_BYTES = 12
TAG_BYTES = 16


class NotAuthentic(Exception):
    """The ciphertext, its place or its key is not the one it was sealed with."""


@dataclass(frozen=True, slots=True)
class Cipher:
    """One authenticated cipher. `seal` and `open` take key, data, additional data."""

    code: int
    name: str
    key_bytes: int
    seal: Callable[[bytes, bytes, bytes], bytes]
    open: Callable[[bytes, bytes, bytes], bytes]


def derive(secret: bytes, purpose: str, length: int = 32) -> bytes:
    """A key for one purpose only (HKDF-SHA256, RFC 5869)."""
    return HKDF(algorithm=SHA256(), length=length, salt=None, info=purpose.encode()).derive(secret)


def _aes_seal(key: bytes, data: bytes, place: bytes) -> bytes:
    nonce = os.urandom(NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, data, place)


def _aes_open(key: bytes, sealed: bytes, place: bytes) -> bytes:
    try:
        return AESGCM(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], place)
    except (InvalidTag, ValueError) as error:
        raise NotAuthentic from error


def _sm4_seal(key: bytes, data: bytes, place: bytes) -> bytes:
    nonce = os.urandom(NONCE_BYTES)
    encryptor = Primitive(algorithms.SM4(key), modes.GCM(nonce)).encryptor()
    encryptor.authenticate_additional_data(place)
    return nonce + encryptor.update(data) + encryptor.finalize() + encryptor.tag


def _sm4_open(key: bytes, sealed: bytes, place: bytes) -> bytes:
    if len(sealed) < NONCE_BYTES + TAG_BYTES:
        raise NotAuthentic
    nonce, data, tag = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:-TAG_BYTES], sealed[-TAG_BYTES:]
    decryptor = Primitive(algorithms.SM4(key), modes.GCM(nonce, tag)).decryptor()
    decryptor.authenticate_additional_data(place)
    try:
        return decryptor.update(data) + decryptor.finalize()
    except InvalidTag as error:
        raise NotAuthentic from error


AES_256_GCM = Cipher(1, "aes-256-gcm", 32, _aes_seal, _aes_open)
# GB/T 32907 in GCM; GB/T 39786 asks for it where commercial cryptography is assessed.
SM4_GCM = Cipher(2, "sm4-gcm", 16, _sm4_seal, _sm4_open)
CIPHERS = {cipher.code: cipher for cipher in (AES_256_GCM, SM4_GCM)}
