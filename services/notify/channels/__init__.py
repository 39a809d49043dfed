"""One file is one channel to the world outside. The in-app inbox is no such channel: it is a row of our own.

A channel's file is called as its channel. It has `SETTINGS`, the class of its settings, which are read from
`ONESTOP_CHANNELS__<CHANNEL>__…`, `ADDRESS`, the kind of contact that it needs, and `open_channel(settings)`.
A channel that has any settings is set up. Files that begin with an underscore are no channels.
"""

from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType
from typing import Protocol
from uuid import UUID

from services.notify.rules.delivery import SendResult
from shared.sections import Section
from shared.settings import Settings, read_sections


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
    stop: str | None = None
    """The code that stops such messages, for whoever did nothing in the case; it must be said."""


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
        """Which contact the channel needs: `phone` or `email`."""

    @property
    def has_receipts(self) -> bool:
        """Whether `ask` can find out what became of a message; if not, a doubt is shown to people at once."""

    @property
    def at_once(self) -> int:
        """How many calls the provider takes at once; no more messages are claimed."""

    def send(self, message: OutsideMessage) -> Told:
        """Send once. UNKNOWN whenever the request may have been taken."""

    def ask(self, message: OutsideMessage, sent_on: date) -> Told:
        """What became of the message with this key, sent first on that day (in Beijing). UNKNOWN without
        receipts."""

    def close(self) -> None:
        """Let go of connections."""


def channel_names() -> tuple[str, ...]:
    """Every channel that there is a file for."""
    return _names_in(tuple(__path__))


@cache
def _names_in(folders: tuple[str, ...]) -> tuple[str, ...]:
    """Read once: every notice asks for them."""
    return tuple(sorted(found.name for found in iter_modules(folders) if not found.name.startswith("_")))


def set_up_channels(settings: Settings) -> tuple[str, ...]:
    """The names of the channels that this installation has set up; nothing is opened."""
    return tuple(name for name in channel_names() if name in settings.channels)


def code_channels(settings: Settings) -> dict[str, str]:
    """Kind of contact -> the channel that is set up for it; of several the first sends one-time codes."""
    found: dict[str, str] = {}
    for name in set_up_channels(settings):
        found.setdefault(_file(name).ADDRESS, name)
    return found


def channel_settings(settings: Settings) -> dict[str, Section]:
    """The settings of each channel that is set up. Raises SettingsError, which names all that is broken."""
    classes = {name: _file(name).SETTINGS for name in channel_names()}
    return read_sections(classes, settings, "channels")


def open_channels(settings: Settings) -> list[Channel]:
    """The channels that this installation has set up. Raises SettingsError."""
    return [_file(name).open_channel(own) for name, own in channel_settings(settings).items()]


def _file(name: str) -> ModuleType:
    return import_module(f"{__name__}.{name}")
