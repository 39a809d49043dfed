"""Who may ask whom what: the whole table. What does not stand here nobody may, in one process or between two.

A question itself is a function in its owner's `web.py: answers`. After a change here `onestop secrets init`
tells the owner of its new asker.
"""

from shared.peers import MayAsk

MAY_ASK: MayAsk = {
    "intake": {
        "contact": ("notify",),
        "application": ("approval",),
    },
    "materials": {
        "checklist": ("approval",),
        "keep_upload": ("intake",),
        "read_upload": ("approval",),
        "still_valid": ("approval",),
        "uploads_owned": ("intake",),
    },
    "approval": {
        "reasons": ("intake",),
    },
}
"""Owner -> question -> who may ask."""


def askers_of(owner: str) -> tuple[str, ...]:
    """The services that may ask this one anything."""
    questions = MAY_ASK.get(owner, {}).values()
    return tuple(sorted({asker for askers in questions for asker in askers}))
