"""One file is one channel to the world outside. The in-app inbox is no such channel: it is a row of our own.

A channel's file is called as its channel and has `open_channel(settings)`, which answers None where the
installation has not set the channel up. Files that begin with an underscore are no channels.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from importlib import import_module
from pkgutil import iter_modules
from typing import Protocol
from uuid import UUID

from services.notify.rules.delivery import SendResult
from shared.settings import Settings


@dataclass(frozen=True, slots=True)
class OutsideMessage:
    """What a channel is to send. `key` is stable over repeats; `params` are without personal data.

    `deadline` is on the monotonic clock: after it somebody else may hold the claim, so nothing may be sent.
    """

    key: UUID
    address: str
    template: str
    params: dict[str, str]
    locale: str
    deadline: float | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """What is known after a call; `reason` is a code, `provider_ref` the provider's own number."""

    answer: SendResult
    reason: str | None = None
    provider_ref: str | None = None
    retry_after_s: float = 0.0


class Channel(Protocol):
    """How to reach people outside. Neither method raises for what the provider does."""

    @property
    def name(self) -> str:
        """What deliveries and settings call this channel."""

    @property
    def address(self) -> str:
        """Which contact the channel needs: `phone`."""

    def send(self, message: OutsideMessage) -> Told:
        """Send once. UNKNOWN whenever the request may have been taken."""

    def ask(self, message: OutsideMessage, sent_on: date) -> Told:
        """What became of the message with this key, sent first on that day (in Beijing)."""

    def close(self) -> None:
        """Let go of connections."""


def channel_names() -> tuple[str, ...]:
    """Every channel that there is a file for."""
    return tuple(sorted(found.name for found in iter_modules(__path__) if not found.name.startswith("_")))


def set_up_channels(settings: Settings) -> tuple[str, ...]:
    """The names of the channels that this installation has set up; nothing is opened."""
    return tuple(name for name in channel_names() if getattr(settings, name) is not None)


def open_channels(settings: Settings) -> list[Channel]:
    """The channels that this installation has set up."""
    opened = (_opener(name)(settings) for name in channel_names())
    return [channel for channel in opened if channel is not None]


def _opener(name: str) -> Callable[[Settings], Channel | None]:
    opener: Callable[[Settings], Channel | None] = import_module(f"{__name__}.{name}").open_channel
    return opener
