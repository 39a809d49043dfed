"""At a million cases: is the main job as fast as at ten thousand, and how long does a page take?

Two real cases, one that is open and one that was decided, are multiplied by COPY: what pages and consumers
read of a case, with numbers, ids and days of its own. What is sealed stays sealed and is never read: pages
are asked for about cases that are real.
"""

import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from statistics import median
from typing import Any
from uuid import UUID, uuid4

from psycopg2 import extensions
from sqlalchemy import create_engine

from deploy.installation import free_ports
from deploy.processes import wait_until
from deploy.services import SERVICES
from services.approval import commands as approval
from services.approval import queries as approval_queries
from services.approval.commands import StepResult
from services.intake.rules.query_code import query_digest
from shared.auth.deps import COOKIE
from shared.bus.unit import unit_of
from shared.context import build_context
from shared.db.engine import database_url
from shared.privacy.secret_files import SESSION_KEY, load_secret
from shared.sections import LimitSettings
from tests.bench import generator
from tests.bench.contenders import Onestop, Worker, answers
from tests.bench.generator import Plan, Request, prepared
from tests.bench.rates import percentile
from tests.bench.seed import held_cases
from tests.bench.servers import Place, Servers, tell
from tests.support.log_ins import tokens_of
from tests.support.principals import citizen, officer

PER_CASE = {
    "intake.cases": 1,
    "intake.timeline": 3,
    "intake.gates": 1,
    "materials.cases": 1,
    "materials.gates": 1,
    "approval.cases": 1,
    "approval.tasks": 2,
    "approval.gates": 1,
    "notify.cases": 1,
    "notify.gates": 1,
}
"""What a filled case has: rows by table."""
OPEN_EVERY = 20
"""One of so many filled cases is open."""
DAYS = 365
_CHUNK = 2000
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_PATIENCE_S = 120.0
_LOG_IN_S = 4 * 3600


@dataclass(frozen=True, slots=True)
class Scaled:
    """`ratio`: throughput of the main job at many cases to that at few. `pages_ms`: p95 of each page."""

    ratio: float
    cases_per_s_at_few: float
    cases_per_s_at_many: float
    filled_s: float
    rows_per_case: float
    pages_ms: dict[str, float]


@dataclass(frozen=True, slots=True)
class Scale:
    """How many cases there are; how many go through at each size in so many rounds; the pages a second."""

    few: int = 10_000
    many: int = 1_000_000
    cases: int = 800
    rounds: int = 3
    rate: float = 20.0
    seconds: float = 60.0

    @property
    def held(self) -> int:
        """Cases that must be held back: two to be multiplied, and those of all rounds."""
        return 2 + 2 * (self.rounds + 1) * self.cases


TINY = Scale(few=40, many=200, cases=5, rounds=1, rate=10.0, seconds=2.0)
"""Does it run at all?"""


@contextmanager
def _copying() -> Iterator[None]:
    """The driver waits as green threads do once a worker's module was read, and COPY cannot."""
    waits = extensions.get_wait_callback()
    extensions.set_wait_callback(None)
    try:
        yield
    finally:
        extensions.set_wait_callback(waits)


def measure(servers: Servers, scale: Scale) -> Scaled:
    """The template must hold `scale.held` cases."""
    tell(f"scale: {scale.few} and {scale.many} cases")
    with _copying(), servers.place("scale") as place:
        onestop = Onestop()
        onestop.prepare(place)
        port, internal = free_ports(2, set())
        more = {
            "ONESTOP_PEERS": json.dumps(dict.fromkeys(SERVICES, f"http://127.0.0.1:{internal}")),
            "ONESTOP_WEB__PORT": str(port),
            "ONESTOP_WEB__INTERNAL_PORT": str(internal),
            **{f"ONESTOP_LIMITS__{name.upper()}": "1000000" for name in LimitSettings.model_fields},
        }
        web = Worker(place.start(["-m", "deploy.cli", "run", "web"], more), partial(answers, internal))
        workers = [onestop.start_worker(place, service, more) for service in SERVICES]
        place.await_ready([one.ready for one in (web, *workers)])
        runs = _Runs(place)
        samples = Samples.take(place, runs)
        filling = Filling(place, samples)
        filling.fill(0, scale.few)
        few = runs.throughput(scale)
        began = time.monotonic()
        filling.fill(scale.few, scale.many)
        filled_s = time.monotonic() - began
        tell(f"  filled in {filled_s:.0f} s")
        many = runs.throughput(scale)
        pages = _pages(place, port, scale)
    found = Scaled(many / few, few, many, filled_s, sum(PER_CASE.values()), pages)
    tell(f"  {few:.0f} and {many:.0f} cases/s, ratio {found.ratio:.2f}; p95 of pages {pages}")
    return found


@dataclass(slots=True)
class _Runs:
    """Held cases that are let go, and how fast they come through."""

    place: Place

    def bring_home(self, count: int) -> tuple[list[str], float]:
        """The numbers of the next ones, all through, and how long that took."""
        ids = held_cases(self.place, 0, count)
        numbers = [
            row[0]
            for row in self.place.rows("SELECT case_no FROM intake.outbox WHERE id = ANY(:ids)", ids=ids)
        ]
        go = Onestop().release(self.place, ids)
        began = time.time()
        go()
        if not wait_until(lambda: self._home(numbers) >= count, _PATIENCE_S, every_s=0.1):
            raise RuntimeError(f"{self._home(numbers)} of {count} cases after {_PATIENCE_S:.0f} s")
        return numbers, self._last(numbers) - began

    def throughput(self, scale: Scale) -> float:
        """Cases a second, the median of the rounds after one that does not count."""
        self.place.servers.postgres.psql("CHECKPOINT")
        self.bring_home(scale.cases)
        return median(scale.cases / self.bring_home(scale.cases)[1] for _ in range(scale.rounds))

    def _home(self, numbers: Sequence[str]) -> int:
        found = self.place.ask(
            "SELECT count(*) FROM intake.timeline WHERE case_no = ANY(:numbers) "
            "AND fact = 'notice-sent' AND details->>'template' = 'case-accepted'",
            numbers=list(numbers),
        )
        return int(found[0])

    def _last(self, numbers: Sequence[str]) -> float:
        found = self.place.ask(
            "SELECT extract(epoch FROM max(pg_xact_commit_timestamp(xmin))) FROM intake.timeline "
            "WHERE case_no = ANY(:numbers)",
            numbers=list(numbers),
        )
        return float(found[0])


@dataclass(frozen=True, slots=True)
class Sample:
    """The rows of one case as COPY has them, by table, with places for what is another in each case."""

    lines: Mapping[str, str]

    @classmethod
    def of(cls, rows: Mapping[str, Sequence[str]], number: str, applicant: UUID, digest: str) -> "Sample":
        """From what COPY TO printed of a real case."""
        opened = partial(_opened, number, applicant, digest)
        return cls({table: "".join(map(opened, found)) for table, found in rows.items()})

    def of_case(self, table: str, number: str, n: int, who: str, day: str) -> str:
        """The lines of case `n`."""
        return self.lines[table] % {"number": number, "n": n, "who": who, "day": day}


def _opened(number: str, applicant: UUID, digest: str, line: str) -> str:
    today = datetime.now(UTC).date().isoformat()
    line = line.replace("%", "%%").replace(number, "%(number)s").replace(str(applicant), "%(who)s")
    line = line.replace(digest, "%(n)08x" + digest[8:]).replace(f"{today} ", "%(day)s ")
    return _UUID.sub(lambda found: "%(n)08x" + found[0][8:], line)


@dataclass(frozen=True, slots=True)
class Samples:
    """An open case and one that was decided."""

    open: Sample
    decided: Sample

    @classmethod
    def take(cls, place: Place, runs: _Runs) -> "Samples":
        """Bring two cases home and decide one of them."""
        (open_, decided), _ = runs.bring_home(2)
        _decide(place, decided)
        return cls(_sample(place, open_), _sample(place, decided))


def _decide(place: Place, number: str) -> None:
    context = build_context(place.settings, "approval")
    decides = False
    while not decides:
        task_id = place.ask("SELECT id FROM approval.tasks WHERE case_no = :n AND state = 'open'", n=number)[
            0
        ]
        with unit_of(context, "bench.decide") as unit:
            found = approval_queries.lock_task(unit.session, task_id)
            assert found is not None
            task, case = found
            approval.claim_task(unit, task, case, officer())
            decides = task.decides
            result = StepResult.APPROVED if decides else StepResult.PASSED
            approval.decide_task(unit, task, case, officer(), result, "理由", approval.Amiss())
    context.hints.close()
    context.engine.dispose()
    context.hints.engine.dispose()
    closed = partial(place.ask, "SELECT closed_at FROM intake.cases WHERE number = :n", n=number)
    if not wait_until(lambda: closed()[0] is not None, _PATIENCE_S, every_s=0.1):
        raise RuntimeError("the case that was decided is not closed")


def _sample(place: Place, number: str) -> Sample:
    applicant, digest = place.ask(
        "SELECT applicant, encode(query_digest, 'hex') FROM intake.cases WHERE number = :n", n=number
    )
    rows = {}
    with _raw(place) as cursor:
        for table, most in PER_CASE.items():
            key = "number" if table.endswith(".cases") else "case_no"
            lines = _Printed()
            cursor.copy_expert(
                f"COPY (SELECT * FROM {table} WHERE {key} = '{number}' LIMIT {most}) TO STDOUT", lines
            )
            rows[table] = lines.text.splitlines(keepends=True)
    return Sample.of(rows, number, applicant, digest)


class _Printed:
    """A file that COPY TO writes."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, data: bytes | str) -> None:
        """As files do."""
        self.text += data if isinstance(data, str) else data.decode()


class _Chunks:
    """A file that COPY FROM reads, chunk by chunk, whatever size it asks for."""

    def __init__(self, chunks: Iterator[str]) -> None:
        self._chunks = chunks

    def read(self, _size: int = -1) -> bytes:
        """As files do; nothing at the end."""
        return next(self._chunks, "").encode()


@contextmanager
def _raw(place: Place) -> Iterator[Any]:
    """A cursor of the driver, as the admin, in a transaction of its own."""
    engine = create_engine(database_url(place.settings, place.servers.postgres.admin_user))
    connection = engine.raw_connection()
    # A worker's module may have been read meanwhile.
    extensions.set_wait_callback(None)
    try:
        yield connection.cursor()
        connection.commit()
    finally:
        connection.close()
        engine.dispose()


@dataclass(slots=True)
class Filling:
    """Multiplies the samples."""

    place: Place
    samples: Samples
    people: Sequence[str] = ()

    def fill(self, first: int, after: int) -> None:
        """Cases `first` to `after`, two tables at a time."""
        refs = self.place.rows("SELECT person_ref FROM intake.persons ORDER BY person_ref")
        self.people = [str(row[0]) for row in refs]
        with ThreadPoolExecutor(2) as tables:
            list(tables.map(lambda table: self._fill(table, first, after), PER_CASE))
        for table in PER_CASE:
            self.place.ask(f"VACUUM (ANALYZE) {table}")

    def _fill(self, table: str, first: int, after: int) -> None:
        with _raw(self.place) as cursor:
            cursor.execute("SET synchronous_commit = off; SET statement_timeout = 0")
            cursor.copy_expert(f"COPY {table} FROM STDIN", _Chunks(self._chunks(table, first, after)))

    def _chunks(self, table: str, first: int, after: int) -> Iterator[str]:
        start = date(2025, 1, 1)
        for begin in range(first, after, _CHUNK):
            yield "".join(
                (self.samples.decided if n % OPEN_EVERY else self.samples.open).of_case(
                    table,
                    f"330106250101{n:08d}",
                    n,
                    self.people[n % len(self.people)],
                    (start + timedelta(days=n * DAYS // max(1, after))).isoformat(),
                )
                for n in range(begin, min(begin + _CHUNK, after))
            )


def _pages(place: Place, port: int, scale: Scale) -> dict[str, float]:
    """The p95 of each page, asked for in turn at a steady rate."""
    requests = _asked(place, max(1, round(scale.seconds)))
    folder = place.servers.folder
    warm = Plan([port], requests, min(5.0, scale.seconds), rate=scale.rate)
    generator.run(warm, folder / "pages_warm")
    sent = generator.run(Plan([port], requests, scale.seconds, rate=scale.rate), folder / "pages")
    bad = [one for one in sent if not one.is_good]
    if bad:
        raise RuntimeError(f"{len(bad)} of {len(sent)} pages were refused: {bad[:3]}")
    kinds = dict.fromkeys(one.kind for one in sent)
    return {kind: percentile([one.ms for one in sent if one.kind == kind], 0.95) for kind in kinds}


def _asked(place: Place, rounds: int) -> list[Request]:
    """Of every kind in turn, each time about another person's real case."""
    tokens = tokens_of(load_secret(place.settings, "intake", SESSION_KEY), lambda: datetime.now(UTC))
    office = _bearer(tokens.issue(replace(officer(), session=uuid4()), _LOG_IN_S))
    real = place.rows(
        "SELECT c.applicant, c.number, t.id FROM intake.cases c "
        "JOIN approval.tasks t ON t.case_no = c.number WHERE t.state = 'open' "
        "ORDER BY c.received_at DESC LIMIT :rounds",
        rounds=rounds,
    )
    found = []
    for applicant, number, task in real:
        token = tokens.issue(replace(citizen(applicant), session=uuid4()), _LOG_IN_S)
        code = uuid4().hex
        place.ask(
            "UPDATE intake.cases SET query_digest = :digest WHERE number = :number",
            digest=query_digest(number, code),
            number=number,
        )
        looked_up = {"number": number, "query_code": code}
        found += [
            prepared("queue", "GET", "/api/v1/tasks", office),
            prepared("task", "GET", f"/api/v1/tasks/{task}", office),
            prepared("my_cases", "GET", "/api/v1/cases", _bearer(token)),
            prepared("case", "GET", f"/api/v1/cases/{number}", _bearer(token)),
            prepared("look_up", "POST", "/api/v1/cases/lookup", {}, looked_up),
            prepared("home", "GET", "/", {"Accept": "text/html", "Cookie": f"{COOKIE}={token}"}),
        ]
    return found


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}
