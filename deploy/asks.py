"""Who may ask whom what: the whole table. What does not stand here nobody may, in one process or between two.

A question itself is a function in its owner's `web.py: answers`; what every subscriber asks its speakers
stands in `shared.bus.comparison`, what every web process asks intake in `shared.auth.revocations`. After a
change here `onestop secrets init` tells the owner of its new asker.
"""

from deploy.services import SERVICES
from shared.peers import REVOCATIONS, SAID, MayAsk

_OF_THEIR_OWN: MayAsk = {
    "intake": {
        "contact": ("notify",),
        "contacts": ("notify",),
        "application": ("approval",),
        "officer": ("approval",),
        "one_time_code": ("notify",),
        REVOCATIONS: ("materials", "approval", "notify"),
    },
    "materials": {
        "certificate": ("intake",),
        "checklist": ("approval",),
        "keep_upload": ("intake",),
        "read_upload": ("approval",),
        "still_valid": ("approval",),
        "upload_names": ("intake",),
        "uploads_owned": ("intake",),
    },
    "notify": {
        "code_kinds": ("intake",),
        "messages": ("intake",),
        "send_code": ("intake",),
    },
    "approval": {
        "reasons": ("intake",),
        "standings": ("materials",),
    },
}

SIGNER = "intake"
"""The one service that logs people in, and tells the others whose log-ins have ended."""

MAY_ASK: MayAsk = {
    owner: {
        **_OF_THEIR_OWN.get(owner, {}),
        # What was said, and to have it said again.
        **{question: tuple(other for other in SERVICES if other != owner) for question in SAID},
    }
    for owner in SERVICES
}
"""Owner -> question -> who may ask."""


def askers_of(owner: str) -> tuple[str, ...]:
    """The services that may ask this one anything."""
    questions = MAY_ASK.get(owner, {}).values()
    return tuple(sorted({asker for askers in questions for asker in askers}))
