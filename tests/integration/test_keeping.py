"""What has stayed for its time goes, in small bites; what is young, open or meant to stay is not touched."""

from collections.abc import Mapping

import pytest
from sqlalchemy import text

from deploy.retention import all_rules, rules_of
from deploy.services import SERVICES
from shared.bus.housekeeping import forget_old
from shared.retention import BITE, Rule, forgotten
from tests.support.filling import fill
from tests.support.installation import (
    Installation,
    db_installation,
    secrets_dir,
    template_settings,
    wait_for,
)

__all__ = ["db_installation", "secrets_dir", "template_settings"]

ROWS = 2500
STATES = {
    "jobs": {"state": "(ARRAY['done', 'dropped', 'failed', 'due'])[1 + n % 4]"},
    "uploads": {"case_no": "CASE WHEN n % 2 = 0 THEN 'case-' || n END"},
    "contact_points": {"assurance": "CASE WHEN n % 2 = 0 THEN 'claimed' ELSE 'reached' END"},
}


def two_in_five_are_old(service: str) -> dict[str, Mapping[str, str]]:
    """How rows are filled in: by a day beyond their age, or just made."""
    return {
        f"{service}.{rule.table}": {
            rule.since: "clock_timestamp() - CASE WHEN n % 5 < 2 "
            f"THEN interval '{rule.age.days + 1} days' ELSE interval '1 minute' END",
            **STATES.get(rule.table, {}),
        }
        for rule in forgotten(rules_of(service))
    }


def fill_all(installation: Installation, rows: int = ROWS) -> None:
    known: dict[str, Mapping[str, str]] = {}
    for service in SERVICES:
        known |= two_in_five_are_old(service)
    with installation.admin.begin() as connection:
        fill(connection, rows, known)


def counts(installation: Installation) -> dict[str, int]:
    return {
        f"{service}.{rule.table}": installation.value(f"SELECT count(*) FROM {service}.{rule.table}")
        for service in SERVICES
        for rule in rules_of(service)
    }


def old(installation: Installation, service: str, rule: Rule) -> int:
    """Rows that are to go."""
    found: int = installation.value(
        f"SELECT count(*) FROM {service}.{rule.table} WHERE {rule.which} "
        f"AND {rule.since} < clock_timestamp() - interval '{rule.age.days} days'"
    )
    return found


def test_old_rows_go_and_all_others_stay(db_installation: Installation) -> None:
    fill_all(db_installation)
    before = counts(db_installation)
    wanted = {
        f"{service}.{rule.table}": old(db_installation, service, rule)
        for service in SERVICES
        for rule in forgotten(rules_of(service))
    }
    assert all(wanted.values())
    for service in SERVICES:
        gone = forget_old(db_installation.context(service), rules_of(service))
        assert {f"{service}.{table}": rows for table, rows in gone.items()} == {
            name: rows for name, rows in wanted.items() if name.startswith(f"{service}.")
        }
        assert forget_old(db_installation.context(service), rules_of(service)) == {}
    # What is part of another row goes with it: one piece a file here.
    for service, rules in all_rules().items():
        parts = {rule.table: rule.part_of for rule in rules if rule.part_of}
        wanted |= {f"{service}.{table}": wanted[f"{service}.{of}"] for table, of in parts.items()}
    assert counts(db_installation) == {name: rows - wanted.get(name, 0) for name, rows in before.items()}


def test_a_run_takes_so_many_bites_and_the_next_goes_on(db_installation: Installation) -> None:
    fill_all(db_installation, rows=5 * BITE)
    context, rules = db_installation.context("intake"), rules_of("intake")
    rows = [forget_old(context, rules, bites=1).get("idempotency_keys", 0) for _ in range(3)]
    assert rows == [BITE, BITE, 0]


def test_what_somebody_holds_is_left_to_the_next_run(db_installation: Installation) -> None:
    fill_all(db_installation)
    rule = next(rule for rule in forgotten(rules_of("intake")) if rule.table == "lookup_misses")
    wanted = old(db_installation, "intake", rule)
    with db_installation.admin.begin() as connection:
        connection.execute(
            text("SELECT 1 FROM intake.lookup_misses ORDER BY missed_at, id LIMIT 1 FOR UPDATE")
        )
        assert forget_old(db_installation.context("intake"), [rule]) == {"lookup_misses": wanted - 1}
    assert forget_old(db_installation.context("intake"), [rule]) == {"lookup_misses": 1}


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_cannot_let_go_what_its_rules_keep(db_installation: Installation, service: str) -> None:
    fill_all(db_installation, rows=20)
    before = counts(db_installation)
    stays = {rule.table for rule in all_rules()[service]} - {r.table for r in forgotten(rules_of(service))}
    with db_installation.context(service).engine.begin() as connection:
        for table in (*stays, "nonsense", f"{service}.cases; DROP TABLE {service}.cases"):
            gone = connection.execute(
                text(f"SELECT {service}.forget(:what, 1000000)"), {"what": table}
            ).scalar_one()
            assert gone == 0
    assert counts(db_installation) == before


def test_workers_do_it_by_themselves(db_installation: Installation) -> None:
    fill_all(db_installation, rows=50)
    # Nothing in the filled tables is a real fact or job; only their ages are.
    for service in SERVICES:
        for table in ("outbox", "inbox", "messages"):
            db_installation.change(f"DELETE FROM {service}.{table}")
        db_installation.change(f"UPDATE {service}.jobs SET state = 'failed' WHERE state = 'due'")
    db_installation.worker(*SERVICES)
    rules = [(service, rule) for service in SERVICES for rule in forgotten(rules_of(service))]
    wait_for(
        lambda: not any(old(db_installation, service, rule) for service, rule in rules),
        "old rows are gone",
        of=db_installation,
    )
