"""Which notices a fact makes: to whom, and by which channels they go."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from uuid import UUID

from shared.catalogue.matter import Notice
from shared.events.notify import IN_APP

CONSENT_TEMPLATE = "consent-recorded"
WITHDRAWAL_TEMPLATE = "withdrawal-recorded"
ASKED_AGAIN_TEMPLATE = "materials-asked-again"
TO_HOLDERS = (CONSENT_TEMPLATE, WITHDRAWAL_TEMPLATE)
"""Tell a holder what a counter noted in their name. They go where the holder is known to be reached, not
where whoever acted wrote."""
OF_EVERY_MATTER = (*TO_HOLDERS, ASKED_AGAIN_TEMPLATE)
"""In these no matter has a say."""


@dataclass(frozen=True, slots=True)
class NoticePlan:
    """One notice to one person by one channel."""

    template: str
    channel: str
    person: UUID
    role: str


def plan_notices(
    notice: Notice, people: Mapping[str, str], channels: Collection[str]
) -> tuple[NoticePlan, ...]:
    """For each person whom the notice is for, one plan for the in-app inbox, where a legal notice can always
    be read, and one for each of `channels`, those that the installation has besides.

    `people` are the case's, by role; a role that nobody has is told nothing.
    """
    told: dict[str, str] = {}
    for role in notice.to:
        if role in people:
            told.setdefault(people[role], role)
    outside = sorted(set(channels) - {IN_APP})
    return tuple(
        NoticePlan(notice.template, channel, UUID(person), role)
        for person, role in told.items()
        for channel in (IN_APP, *outside)
    )
