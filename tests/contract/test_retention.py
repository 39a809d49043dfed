"""Every table has a rule that says how long its rows stay, and why."""

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from deploy.retention import all_rules
from deploy.services import SERVICES, part
from shared.db.engine import database_url
from shared.retention import Rule, Stays, forgotten
from shared.settings import Settings
from tests.support.installation import secrets_dir, template_settings

__all__ = ["secrets_dir", "template_settings"]

RULES = [(schema, rule) for schema, rules in all_rules().items() for rule in rules]
NAMES = [f"{schema}.{rule.table}" for schema, rule in RULES]


def test_every_table_has_one_rule(template_settings: Settings) -> None:
    engine = create_engine(
        database_url(template_settings, template_settings.db.admin_user), poolclass=NullPool
    )
    with engine.connect() as connection:
        tables = connection.execute(
            text(
                "SELECT n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = "
                "c.relnamespace WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND n.nspname <> ALL "
                "(ARRAY['pg_catalog', 'information_schema', 'pg_toast'])"
            )
        )
        assert sorted(tables.scalars()) == sorted(NAMES)


@pytest.mark.parametrize(("schema", "rule"), RULES, ids=NAMES)
def test_a_rule_is_whole(schema: str, rule: Rule) -> None:
    assert rule.why
    assert bool(rule.since) == (rule.stays is Stays.FOR_A_TIME)
    assert rule.bytes_a_case == 0 or rule.stays is Stays.WITH_THE_CASE
    assert (rule.which == "true") == (not rule.which_in_words)
    if rule.stays is Stays.FOR_A_TIME:
        assert rule.age.days >= 1


@pytest.mark.parametrize("service", SERVICES)
def test_the_worker_keeps_to_the_rules_of_its_service(service: str) -> None:
    assert part(service, "worker").Worker.keeps is part(service, "retention").RULES
    assert forgotten(all_rules()[service])
