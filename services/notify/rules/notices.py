"""Which notices a fact makes, and by which channels they go."""

from collections.abc import Collection
from dataclasses import dataclass

IN_APP = "inbox"


@dataclass(frozen=True, slots=True)
class NoticePlan:
    """One notice by one channel."""

    template: str
    channel: str


def plan_notices(
    template: str | None, *, channels: Collection[str], muted: Collection[str]
) -> tuple[NoticePlan, ...]:
    """One plan per channel. The in-app inbox cannot be muted: a legal notice must be somewhere to be read.

    `channels` are those of the installation besides the inbox, `muted` those the person switched off.
    """
    if template is None:
        return ()
    outside = sorted(set(channels) - set(muted) - {IN_APP})
    return tuple(NoticePlan(template, channel) for channel in (IN_APP, *outside))
