"""What notify was told of, and what it made of it."""

from typing import Any
from uuid import uuid4

from services.notify.commands import load_addressees, remember_case
from tests.support.commands import event_of, handle, new_number, submitted
from tests.support.installation import Installation


def remembered(made: Installation, locale: str = "zh-CN") -> str:
    """A case whose applicant is known, and was told that it came."""
    number = new_number()
    event = event_of(submitted(uuid4(), locale=locale), number)
    handle(made, "notify", load_addressees, remember_case, event)
    return number


def deliveries(made: Installation, number: str, template: str) -> dict[str, Any]:
    """The deliveries of one notice, by channel."""
    found = made.rows(
        "SELECT * FROM notify.deliveries WHERE case_no = :n AND template = :t", n=number, t=template
    )
    return {delivery.channel: delivery for delivery in found}
