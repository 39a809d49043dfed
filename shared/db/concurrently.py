"""Indexes on tables that may be large, made while everybody goes on writing.

For migrations that say `concurrently = True`. Each can be run again: an index whose making was interrupted is
left invalid by PostgreSQL, and is dropped first.
"""

from alembic import op
from sqlalchemy import text


def create_index(name: str, on: str, *, unique: bool = False) -> None:
    """`on` is what stands behind ON in SQL: "intake.cases (state) WHERE closed_at IS NULL"."""
    whole = f"{_schema(on)}.{name}"
    valid = op.get_bind().execute(
        text("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(:name)"), {"name": whole}
    )
    is_valid = valid.scalar_one_or_none()
    if is_valid:
        return
    if is_valid is False:
        op.execute(f"DROP INDEX CONCURRENTLY {whole}")
    op.execute(f"CREATE {'UNIQUE ' if unique else ''}INDEX CONCURRENTLY {name} ON {on}")


def _schema(on: str) -> str:
    schema, dot, _ = on.partition(".")
    if not dot:
        raise ValueError(f"name the table with its schema: {on!r}")
    return schema
