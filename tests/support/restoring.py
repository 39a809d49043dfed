"""What tests of restored databases share: minutes that pass for those who compare, and what is wrong."""

from datetime import timedelta
from typing import Any

from deploy.services import SERVICES, subscriptions
from shared.bus.comparison import EVERY, SETTLE, Comparison
from tests.support.installation import Installation


def let_them_ask(made: Installation) -> None:
    """Every service of the test's process is there to be asked by the others."""
    for service in SERVICES:
        made.context(service)


def compare(made: Installation) -> None:
    """Minutes pass: everybody compares what was said with what was heard, and has said again what is
    missing."""
    ago = (SETTLE + timedelta(seconds=1)).total_seconds()
    for service, speakers in subscriptions().items():
        for table in ("said_tally", "heard_tally"):
            made.change(
                f"UPDATE {service}.{table} SET added_at = added_at - make_interval(secs => :s)", s=ago
            )
        made.change(
            f"UPDATE {service}.comparisons SET checked_at = checked_at - make_interval(secs => :s), "
            "compared_to = compared_to - make_interval(secs => :s)",
            s=max(ago, EVERY.total_seconds()),
        )
        Comparison(made.context(service), speakers, lambda moment: True).run()


def alarms(made: Installation) -> dict[str, tuple[int, int]]:
    """Who misses or knows too many facts of whom: missing, never said."""
    return {
        f"{row.speaker} -> {service}": (row.missing, row.above)
        for service in SERVICES
        for row in made.rows(f"SELECT * FROM {service}.comparisons WHERE missing + above > 0")
    }


def parked(made: Installation) -> list[Any]:
    """Facts that wait for people."""
    return [
        (service, row.type, row.reason)
        for service in SERVICES
        for row in made.rows(f"SELECT type, reason FROM {service}.inbox WHERE state = 'parked'")
    ]
