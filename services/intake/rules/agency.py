"""Who may have somebody else apply for them (代办)."""

from collections.abc import Mapping
from datetime import date

from shared.catalogue.matter import Matter
from shared.catalogue.terms import AgentGround, Scalar, holds

ADULT_ENOUGH = 16
"""From this age on one applies oneself (居住证暂行条例 art. 9)."""
ELDERLY_FROM = 60
"""老年人权益保障法 art. 2."""


def age_on(born_on: date, on: date) -> int:
    """Full years of age; a birthday counts from its own day, 29 February from 1 March in common years."""
    return on.year - born_on.year - ((on.month, on.day) < (born_on.month, born_on.day))


def agent_allowed(matter: Matter, applicant_birth_on: date, facts: Mapping[str, Scalar], on: date) -> bool:
    """Whether the matter lets somebody act for this applicant on the day `on`.

    Ages are read from the applicant's birth date; only disability is taken from the declared facts, and then
    proved by a material.
    """
    policy = matter.agent
    if policy is None:
        return False
    age = age_on(applicant_birth_on, on)
    applies = {
        AgentGround.UNDER_16: age < ADULT_ENOUGH,
        AgentGround.ELDERLY: age >= ELDERLY_FROM,
        AgentGround.DISABLED: policy.disabled_when is not None and holds(policy.disabled_when, facts),
        AgentGround.ANYBODY: True,
    }
    return any(applies[ground] for ground in policy.allowed_for)
