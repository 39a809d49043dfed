"""How long the rows of each table stay, and why: one rule a table, in words and as what is done.

Each service says its rules in `retention.py`, the delivery tables theirs in `shared.bus.retention`;
docs/retention.md is written from them. What stays for a time goes through the owner's function `forget`,
which the migration makes from these rules: a service cannot remove from its logs what their rule does not
let go.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

BITE = 1000
"""Rows that one transaction removes at most, unless the rule says fewer."""


class Stays(StrEnum):
    """What ends the stay of a row."""

    FOR_A_TIME = "for a time"
    UNTIL_HANDLED = "until it is handled"
    WITH_THE_CASE = "as long as the case"
    WITH_THE_PERSON = "as long as the person is known"
    WITH_ANOTHER_ROW = "as long as the row that it is part of"
    WITH_THE_RELEASE = "as long as the installation: it does not grow with cases"


@dataclass(frozen=True, slots=True)
class Rule:
    """How long the rows of one table stay.

    For a time: `age` after the moment in the column `since`, those only for which `which` (SQL) is true;
    `which_in_words` says the same to people. `bytes_a_case`: what a case leaves here for good, with its part
    of the indexes. `part_of` is the table whose rows take these along. `bite`: rows that one transaction
    removes at most.
    """

    table: str
    stays: Stays
    why: str
    since: str = ""
    age: timedelta = timedelta(0)
    which: str = "true"
    which_in_words: str = ""
    bytes_a_case: int = 0
    part_of: str = ""
    bite: int = BITE


def for_a_time(
    table: str,
    age: timedelta,
    *,
    since: str,
    why: str,
    which: str = "true",
    which_in_words: str = "",
    bite: int = BITE,
) -> Rule:
    """Rows that go `age` after the moment in the column `since`; an index holds these rows in its order."""
    return Rule(table, Stays.FOR_A_TIME, why, since, age, which, which_in_words, bite=bite)


def with_the_case(table: str, bytes_a_case: int, why: str) -> Rule:
    """Rows that stay as long as their case; closed cases will move to an archive together with them."""
    return Rule(table, Stays.WITH_THE_CASE, why, bytes_a_case=bytes_a_case)


def until_handled(table: str, why: str) -> Rule:
    """Rows that whoever handles them removes."""
    return Rule(table, Stays.UNTIL_HANDLED, why)


def with_another_row(table: str, part_of: str, why: str) -> Rule:
    """Rows that the database removes together with the row of another table that they are part of."""
    return Rule(table, Stays.WITH_ANOTHER_ROW, why, part_of=part_of)


def with_the_person(table: str, why: str) -> Rule:
    """Rows about people, not about a case."""
    return Rule(table, Stays.WITH_THE_PERSON, why)


def with_the_release(table: str, why: str) -> Rule:
    """Rows that are few, however many cases there are."""
    return Rule(table, Stays.WITH_THE_RELEASE, why)


def forgotten(rules: Sequence[Rule]) -> list[Rule]:
    """Those whose rows the service must let go by itself."""
    return [rule for rule in rules if rule.stays is Stays.FOR_A_TIME]


def old_rows(schema: str, rule: Rule) -> str:
    """A query for the rows that are to go, the oldest first, `most` at the most; others may be at it, too."""
    return (
        f"SELECT ctid FROM {schema}.{rule.table} WHERE {rule.which} "
        f"AND {rule.since} < clock_timestamp() - interval '{int(rule.age.total_seconds())} seconds' "
        f"ORDER BY {rule.since} LIMIT most FOR UPDATE SKIP LOCKED"
    )


def forget_function(schema: str, rules: Sequence[Rule]) -> str:
    """SQL of the owner's function `forget(table, most)`: removes old rows of one table and says how many.

    Ages stand in the function, not in its arguments: who may call it cannot let anything go before its time.
    """
    branches = "".join(
        f"    IF what = '{rule.table}' THEN\n"
        f"        DELETE FROM {schema}.{rule.table} WHERE ctid = ANY(ARRAY({old_rows(schema, rule)}));\n"
        "        GET DIAGNOSTICS gone = ROW_COUNT;\n"
        "    END IF;\n"
        for rule in forgotten(rules)
    )
    return (
        f"CREATE OR REPLACE FUNCTION {schema}.forget(what text, most integer) RETURNS integer\n"
        f"LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, {schema} AS $$\n"
        "DECLARE\n"
        "    gone integer := 0;\n"
        "BEGIN\n"
        f"{branches}"
        "    RETURN gone;\n"
        "END $$"
    )
