"""The rules of every table together, and docs/retention.md, which is written from them."""

from collections.abc import Iterator, Sequence
from datetime import timedelta

from deploy.services import SERVICES, part
from shared.bus import retention as delivery
from shared.db import common
from shared.retention import Rule, Stays

_INTRODUCTION = """# How long rows stay

Written by `make docs` from `services/*/retention.py`, `shared/bus/retention.py` and
`shared/db/common.py`; a test holds that every table has a rule. What stays for a time is removed by the
workers every ten minutes, at most 1,000 rows a transaction, through the owner's function `forget`: a
service's own role cannot remove what its rule does not let go. Bytes a case count table and indexes and
were measured on 1,000 decided cases (`make drill` measures them again); the rows of all services together
take about {total} kB a case. Closed cases will move to an archive, all their rows together.
"""


def rules_of(service: str) -> tuple[Rule, ...]:
    """The delivery tables' rules and the service's own."""
    own: Sequence[Rule] = part(service, "retention").RULES
    return (*delivery.RULES, *own)


def all_rules() -> dict[str, tuple[Rule, ...]]:
    """Schema -> its rules."""
    return {"onestop": common.RULES, **{service: rules_of(service) for service in SERVICES}}


def retention_text() -> str:
    """docs/retention.md."""
    cases = sum(rule.bytes_a_case for service in SERVICES for rule in rules_of(service))
    lines = [_INTRODUCTION.format(total=round(cases / 1000))]
    for title, rules in (
        ("Delivery, in every service's schema", delivery.RULES),
        *((service, part(service, "retention").RULES) for service in SERVICES),
        ("onestop, read by all", common.RULES),
    ):
        lines += [f"## {title}\n", "| table | stays | why |", "| --- | --- | --- |", *_rows(rules), ""]
    return "\n".join(lines)


def _rows(rules: Sequence[Rule]) -> Iterator[str]:
    for rule in rules:
        yield f"| `{rule.table}` | {_stay(rule)} | {rule.why} |"


def _stay(rule: Rule) -> str:
    if rule.stays is Stays.FOR_A_TIME:
        which = f": {rule.which_in_words}" if rule.which_in_words else ""
        return f"{_age(rule.age)} after `{rule.since}`{which}"
    if rule.stays is Stays.WITH_THE_CASE:
        return f"{rule.stays}, {rule.bytes_a_case:,} bytes"
    return rule.stays


def _age(age: timedelta) -> str:
    return "a day" if age == timedelta(days=1) else f"{age.days} days"
