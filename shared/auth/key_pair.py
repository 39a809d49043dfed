"""The two halves of a key that signs (Ed25519, RFC 8032): apart from what signs, for who only keeps them."""

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


def public_key_of(key: bytes) -> bytes:
    """The 32 bytes that check what is signed with these 32 bytes."""
    return Ed25519PrivateKey.from_private_bytes(key).public_key().public_bytes_raw()
