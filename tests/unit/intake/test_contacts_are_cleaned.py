"""A contact is kept in one spelling, so that limits and codes know it again."""

import pytest

from services.intake.rules.contacts import ContactKind, clean_contact


@pytest.mark.parametrize("typed", ["Zhao@Example.ORG", " zhao@EXAMPLE.org ", "ZHAO@example.org"])
def test_one_mailbox_has_one_spelling(typed: str) -> None:
    assert clean_contact(ContactKind.EMAIL, typed) == "zhao@example.org"
