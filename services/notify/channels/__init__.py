"""One file is one channel to the world outside. The in-app inbox is no such channel: it is a row of our own."""

from dataclasses import dataclass
from datetime import date
from typing import Protocol
from uuid import UUID

from services.notify.rules.delivery import Answer


@dataclass(frozen=True, slots=True)
class OutsideMessage:
    """What a channel is to send. `key` is stable over repeats; `params` are without personal data."""

    key: UUID
    address: str
    template: str
    params: dict[str, str]
    locale: str


@dataclass(frozen=True, slots=True)
class Told:
    """What is known after a call; `reason` is a code, `provider_ref` the provider's own number."""

    answer: Answer
    reason: str | None = None
    provider_ref: str | None = None


class Channel(Protocol):
    """How to reach people outside. Neither method raises for what the provider does."""

    name: str
    address: str
    """Which contact the channel needs: `phone`."""

    def send(self, message: OutsideMessage) -> Told:
        """Send once. UNKNOWN whenever the request may have been taken."""

    def ask(self, message: OutsideMessage, sent_on: date) -> Told:
        """What became of the message with this key."""
