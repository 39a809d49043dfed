"""What one case costs until it is accepted and told of: rows, bytes on disk and in the write-ahead log."""

from dataclasses import dataclass

from deploy.services import SERVICES
from tests.bench.hall import Hall, hall
from tests.bench.seed import MANY_PEOPLE, TINY_PEOPLE
from tests.bench.servers import Place, Servers, tell

_WARM_UP = 20.0, 3.0
_TABLES = (
    "SELECT n.nspname || '.' || c.relname, pg_total_relation_size(c.oid) FROM pg_class c "
    "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'r' AND n.nspname = ANY(:schemas)"
)


@dataclass(frozen=True, slots=True)
class Cost:
    """Of a case. `rows` by table are those that are there when all is done; bytes are those of the tables
    with their indexes, dead rows included, and of the log with its full pages."""

    rows: float
    table_bytes: float
    wal_bytes: float
    rows_by_table: dict[str, float]


@dataclass(frozen=True, slots=True)
class Scale:
    """How long a few clients apply."""

    people: int = MANY_PEOPLE
    clients: int = 8
    seconds: float = 30.0


TINY = Scale(people=TINY_PEOPLE, clients=2, seconds=1.0)
"""Does it run at all?"""


@dataclass(frozen=True, slots=True)
class _Books:
    rows: dict[str, int]
    table_bytes: int
    wal: int


def measure(servers: Servers, scale: Scale) -> Cost:
    """In a hall of its own."""
    tell("what a case costs")
    with hall(servers, "cost", people=scale.people) as opened:
        opened.send(_WARM_UP[1], rate=_WARM_UP[0])
        return find(opened, scale)


def find(opened: Hall, scale: Scale) -> Cost:
    """Compare the books before and after."""
    opened.drain()
    before = _look(opened.place)
    cases = len(opened.send(scale.seconds, clients=scale.clients))
    opened.drain()
    after = _look(opened.place)
    made = {name: (count - before.rows.get(name, 0)) / cases for name, count in after.rows.items()}
    found = Cost(
        rows=sum(made.values()),
        table_bytes=(after.table_bytes - before.table_bytes) / cases,
        wal_bytes=(after.wal - before.wal) / cases,
        rows_by_table={name: per_case for name, per_case in sorted(made.items()) if per_case >= 0.01},
    )
    tell(f"  {found.rows:.1f} rows, {found.table_bytes:.0f} bytes, {found.wal_bytes:.0f} bytes of WAL a case")
    return found


def _look(place: Place) -> _Books:
    tables = place.rows(_TABLES, schemas=list(SERVICES))
    rows = {name: int(place.ask(f"SELECT count(*) FROM {name}")[0]) for name, _ in tables}
    wal = place.ask("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')")[0]
    return _Books(rows, sum(int(size) for _, size in tables), int(wal))
