"""Which columns are sealed, and under which names: what a rotation of keys has to seal again.

Each service names its tables in `sealed.py`, the delivery tables theirs in `shared.bus.sealed`. A test holds
that every column of bytes stands in one of them, and that the database guards it (`shared.db.sealing`).
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Lookup:
    """A column with a keyed HMAC. `of` is the sealed column with the value itself; without one nobody can
    write it anew, and its key is kept until its rows are gone by themselves."""

    column: str
    kind: str
    of: str = ""


@dataclass(frozen=True, slots=True)
class SealedTable:
    """The sealed columns and look-ups of one table.

    `row` are the columns of its primary key; joined by a slash they are the row that a value is bound to.
    """

    name: str
    row: tuple[str, ...]
    sealed: tuple[str, ...] = ()
    lookups: tuple[Lookup, ...] = ()

    def __post_init__(self) -> None:
        if any(bool(lookup.of) != bool(self.sealed) for lookup in self.lookups):
            raise ValueError(f"{self.name}: either all can be sealed again, or nothing can")

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that stands under a data key."""
        return (*self.sealed, *(lookup.column for lookup in self.lookups))

    @property
    def can_be_sealed_again(self) -> bool:
        """Its rows hold what is needed for it; those of the others go by themselves."""
        return bool(self.sealed)


def oldest_key(schema: str, columns: Sequence[str]) -> str:
    """SQL for the oldest key that a row stands under, null when under none; in the words of the index."""
    keys = [f"{schema}.key_of({column})" for column in columns]
    return keys[0] if len(keys) == 1 else f"LEAST({', '.join(keys)})"


def retire_function(schema: str, tables: Sequence[SealedTable]) -> str:
    """SQL of the owner's function `retire_key(closing)`: destroys a retiring key under which nothing stands
    any more, and says whether it did.

    The tables stand in the function: who may call it destroys nothing that is needed.
    """
    stands = " OR ".join(
        f"EXISTS (SELECT FROM {schema}.{table.name} WHERE {oldest_key(schema, table.columns)} <= closing)"
        for table in tables
    )
    return (
        f"CREATE OR REPLACE FUNCTION {schema}.retire_key(closing integer) RETURNS boolean\n"
        f"LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, {schema} AS $$\n"
        "BEGIN\n"
        f"    IF {stands} THEN\n"
        "        RETURN false;\n"
        "    END IF;\n"
        f"    UPDATE {schema}.data_keys SET state = 'retired', wrapped = '', retired_at = clock_timestamp()\n"
        "    WHERE key_id = closing AND state = 'retiring';\n"
        "    RETURN FOUND;\n"
        "END $$"
    )
