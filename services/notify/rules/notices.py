"""Which notices a fact makes, and by which channels they go."""

from collections.abc import Collection
from dataclasses import dataclass

IN_APP = "inbox"


@dataclass(frozen=True, slots=True)
class NoticePlan:
    """One notice by one channel."""

    template: str
    channel: str


def plan_notices(template: str | None, channels: Collection[str]) -> tuple[NoticePlan, ...]:
    """One plan for the in-app inbox, where a legal notice can always be read, and one for each of `channels`,
    those that the installation has besides."""
    if template is None:
        return ()
    outside = sorted(set(channels) - {IN_APP})
    return tuple(NoticePlan(template, channel) for channel in (IN_APP, *outside))
