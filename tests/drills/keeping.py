"""After 100,000 cases: what has a time limit holds only what is open or young, and a case costs what its
rules say. Run by `make drill`.

The rows of 100,000 cases are filled in by SQL, of any content but of true ages; 1,000 cases are real.
"""

import json
import sys
from datetime import timedelta
from uuid import uuid4

import pytest
from sqlalchemy import text

from deploy.retention import rules_of
from deploy.services import SERVICES
from services.intake import access
from services.notify.sending import PURPOSE
from shared.bus.housekeeping import forget_old
from shared.bus.unit import unit_of
from shared.retention import Stays, forgotten
from tests.integration.test_keeping import STATES
from tests.support.filling import fill
from tests.support.installation import Installation, db_installation, secrets_dir, template_settings

__all__ = ["db_installation", "secrets_dir", "template_settings"]

CASES = 100_000
YOUNG = 1_000
REAL = 1_000
_SIZES = """
SELECT n.nspname || '.' || c.relname AS name, pg_total_relation_size(c.oid) AS size FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = ANY(:schemas) AND c.relkind = 'r' AND NOT c.relispartition
"""
_NEVER_OPEN = ("inbox", "messages")
"""Empty when all is handled: whoever handles a fact removes its row in the same transaction."""


def test_what_has_a_time_limit_holds_only_what_is_young(db_installation: Installation) -> None:
    with db_installation.admin.begin() as connection:
        fill(connection, CASES, aged(), but=frozenset(f"{s}.{t}" for s in SERVICES for t in _NEVER_OPEN))
    for service in SERVICES:
        context = db_installation.context(service)
        runs = 0
        while forget_old(context, rules_of(service)):
            runs += 1
        told(service=service, runs_of_ten_minutes=runs)
        with unit_of(context, "drill.turn") as unit:
            for day in range(16):
                # Each slot is emptied when its day comes again.
                at = unit.wall + timedelta(days=day)
                unit.connection.execute(text(f"SELECT {service}.turn_outbox(:at)"), {"at": at})
        for rule in forgotten(rules_of(service)):
            left = db_installation.value(f"SELECT count(*) FROM {service}.{rule.table} WHERE {rule.which}")
            assert 0 < left <= YOUNG, f"{service}.{rule.table}"
        assert db_installation.value(f"SELECT count(*) FROM {service}.outbox WHERE sent_at IS NOT NULL") == 0


def aged() -> dict[str, dict[str, str]]:
    """All but the last 1,000 rows of each table are older than their rule lets them be."""
    known: dict[str, dict[str, str]] = {}
    for service in SERVICES:
        for rule in forgotten(rules_of(service)):
            known[f"{service}.{rule.table}"] = {
                **STATES.get(rule.table, {}),
                rule.since: f"clock_timestamp() - CASE WHEN n > {CASES - YOUNG} THEN interval '1 hour' "
                f"ELSE interval '{rule.age.days + 1} days' END",
            }
        known[f"{service}.outbox"] = {"sent_at": "clock_timestamp() - interval '15 days'"}
    return known


def test_a_case_costs_what_its_rules_say(db_installation: Installation) -> None:
    people = [db_installation.citizen() for _ in range(20)]
    before = sizes(db_installation)
    numbers = []
    for n in range(REAL):
        numbers.append(db_installation.submit(people[n % len(people)]).number)
        if n % 100 == 99:
            db_installation.pump()
    for number in numbers:
        db_installation.decide(number)
    read_as_officers_and_channels_do(db_installation, numbers)
    db_installation.pump()
    with db_installation.admin.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM"))
    found = {name: (size - before[name]) / REAL for name, size in sizes(db_installation).items()}
    told(bytes_a_case={name: round(size) for name, size in sorted(found.items()) if size > 100})
    for service in SERVICES:
        for rule in rules_of(service):
            name = f"{service}.{rule.table}"
            if rule.table in _NEVER_OPEN:
                assert db_installation.value(f"SELECT count(*) FROM {name}") == 0, name
            elif rule.stays is Stays.WITH_THE_CASE:
                assert found[name] == pytest.approx(rule.bytes_a_case, rel=0.45, abs=150), name


def read_as_officers_and_channels_do(installation: Installation, numbers: list[str]) -> None:
    """Two officers read each application, and each of four notices needs the phone number once."""
    for number in numbers:
        with unit_of(installation.context("intake"), "drill.read") as unit:
            person = installation.value("SELECT applicant FROM intake.cases WHERE number = :n", n=number)
            for officer in ("officer-1", "officer-2"):
                access.read_application(unit, number, officer, "deciding the case")
            for _ in range(4):
                message = access.Message(person, uuid4(), "phone", number, PURPOSE)
                access.read_contacts(unit, [message], "notify")


def sizes(installation: Installation) -> dict[str, int]:
    return {row.name: row.size for row in installation.rows(_SIZES, schemas=list(SERVICES))}


def told(**figures: object) -> None:
    sys.stderr.write(f"drill: {json.dumps(figures)}\n")
