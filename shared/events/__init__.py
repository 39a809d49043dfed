"""The contracts: every fact a service may say, one file per speaker, and the envelope it travels in."""

from shared.events import approval, intake, materials, notify
from shared.events.fact import (
    Event,
    Fact,
    UnknownFactType,
    fact_class,
    fact_classes,
    fact_named,
    seen_facts,
    speakers,
)

__all__ = [
    "Event",
    "Fact",
    "UnknownFactType",
    "approval",
    "fact_class",
    "fact_classes",
    "fact_named",
    "intake",
    "materials",
    "notify",
    "seen_facts",
    "speakers",
]
