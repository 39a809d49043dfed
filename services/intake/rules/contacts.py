"""How people can be reached: kinds of contact, one spelling of each, and what may be shown of them."""

from collections.abc import Callable, Mapping
from enum import StrEnum

from services.intake.rules.submission import is_email, normalise_phone, phone_problem
from shared.typed import clean_address

MOST = 10
"""Contact points of one person."""


class ContactKind(StrEnum):
    """By what somebody is reached outside of this hall; notify's channels name the kind that they need.

    The in-app inbox needs none: everybody whom a notice is for has it.
    """

    PHONE = "phone"
    EMAIL = "email"


def clean_contact(kind: ContactKind, text: str) -> str | None:
    """A contact as it is kept, from what was typed or pasted; None for what nothing can be sent to."""
    return _CLEAN[kind](text)


def masked(kind: ContactKind, value: str) -> str:
    """As much as its owner needs to know it again: 138****5678, z****@example.org."""
    if kind is ContactKind.EMAIL:
        local, _, domain = value.rpartition("@")
        return f"{local[:1]}****@{domain}"
    return f"{value[:-8]}****{value[-4:]}" if len(value) > 8 else "*" * len(value)


def _clean_phone(text: str) -> str | None:
    plain = clean_address(text)
    return normalise_phone(plain) if phone_problem(plain) is None else None


def _clean_email(text: str) -> str | None:
    plain = clean_address(text)
    return plain if is_email(plain) else None


_CLEAN: Mapping[ContactKind, Callable[[str], str | None]] = {
    ContactKind.PHONE: _clean_phone,
    ContactKind.EMAIL: _clean_email,
}
