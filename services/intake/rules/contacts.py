"""How people can be reached: kinds of contact, one spelling of each, and what may be shown of them."""

from enum import StrEnum

from services.intake.rules.submission import contact_problem, normalise_phone
from shared.catalogue.form import EMAIL, MOBILE, cleaned
from shared.errors import FieldError

MOST = 10
"""Contact points of one person."""


class ContactKind(StrEnum):
    """By what somebody is reached outside of this hall; notify's channels name the kind that they need.

    The in-app inbox needs none: everybody whom a notice is for has it.
    """

    PHONE = "phone"
    EMAIL = "email"


_FORMATS = {ContactKind.PHONE: MOBILE, ContactKind.EMAIL: EMAIL}


def clean_contact(kind: ContactKind, text: str, pointer: str = "/value") -> str | FieldError:
    """A contact as it is kept, from what was typed or pasted, or why nothing can be sent to it."""
    plain = cleaned({"format": _FORMATS[kind]}, text)
    wrong = contact_problem(_FORMATS[kind], plain, pointer)
    if wrong is not None:
        return wrong
    # Mail services tell no two mailboxes apart by upper and lower case, so limits and codes must not either.
    return normalise_phone(plain) if kind is ContactKind.PHONE else str(plain).lower()


def masked(kind: ContactKind, value: str) -> str:
    """As much as its owner needs to know it again: 138****5678, z****@example.org."""
    if kind is ContactKind.EMAIL:
        local, _, domain = value.rpartition("@")
        return f"{local[:1]}****@{domain}"
    return f"{value[:-8]}****{value[-4:]}"
