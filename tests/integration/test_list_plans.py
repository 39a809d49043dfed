"""No list, count or page reads more than it shows: every query runs on 100,000 rows of each table, a good
part of them of the one person, case or department that is asked about, and its plan is looked at.

The queries are found, not named: whoever adds one must say here how it is called and how much it may read.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any, cast
from uuid import UUID

import pytest
from sqlalchemy import Connection, Engine, text
from sqlalchemy.orm import Session

from deploy.postgres import PostgresServer
from deploy.retention import rules_of
from deploy.services import SERVICES, sealed_tables
from deploy.trouble import sources_of
from services.approval import queries as approval
from services.approval.rules.calendar import DayRange
from services.intake import queries as intake
from services.intake.models import OneTimeCode
from services.materials import queries as materials
from services.notify import queries as notify
from shared.bus.context import ServiceContext
from shared.bus.measuring import measure
from shared.bus.rotation import BITE as RESEAL_BITE
from shared.bus.rotation import key_status, rows_to_reseal
from shared.bus.trouble import Place, Source, list_trouble, tally_trouble
from shared.catalogue.published import Published
from shared.paging import COUNTED, MOST
from shared.privacy.sealed import SealedTable
from shared.retention import BITE, Rule, forgotten, old_rows
from shared.settings import Settings
from tests.support.filling import NOT_FILLED, fill
from tests.support.installation import (
    Installation,
    make_installation,
    secrets_dir,
    template_settings,
)
from tests.support.plans import Plan, plans_of

__all__ = ["secrets_dir", "template_settings"]

ROWS = 100_000
ME = UUID(int=1)
"""Who has more than anybody: 10,000 and more rows wherever a person stands."""
PAGE = 50
BATCH = sorted(f"case-{n}" for n in range(2, 102))
AT = datetime(2026, 2, 1, tzinfo=UTC)
_MINE = f"'{ME}'::uuid"
_SOMEBODY = "md5('somebody' || n)::uuid"
_OFTEN_MINE = f"CASE WHEN n % 5 = 0 THEN {_MINE} ELSE {_SOMEBODY} END"
_OFTEN_CASE_1 = "CASE WHEN n % 5 = 0 THEN 'case-1' ELSE 'case-' || n END"
_NAMED_1 = f"CASE WHEN n = 1 THEN '{UUID(int=1)}' ELSE md5(n::text) END::uuid"

KNOWN = {
    "approval.cases": {"region": "'33' || lpad((n % 100)::text, 4, '0')"},
    "approval.tasks": {
        "department": "'department-' || n % 20",
        "state": "CASE WHEN n / 20 % 40 > 0 THEN 'done' WHEN n % 2 = 0 THEN 'open' ELSE 'claimed' END",
        "due_at": "timestamptz '2026-01-01' + n * interval '1 minute'",
        "officer": "CASE WHEN n % 2 > 0 THEN 'officer-1' END",
        "id": _NAMED_1,
    },
    "approval.work_calendar": {"region": "(n % 100)::text", "day": "date '2024-01-01' + n / 100"},
    "intake.cases": {
        "applicant": _OFTEN_MINE,
        "agent": f"CASE WHEN n % 5 = 1 THEN {_MINE} END",
        "state": "'correction_required'",
    },
    "intake.consents": {
        "holder": _OFTEN_MINE,
        "given_at": "CASE WHEN n % 2 = 0 THEN timestamptz '2026-01-01' END",
    },
    "intake.timeline": {"case_no": _OFTEN_CASE_1},
    "intake.contact_points": {
        "person_ref": _OFTEN_MINE,
        "kind": "CASE WHEN n % 2 = 0 THEN 'phone' ELSE 'email' END",
        "verified_at": "CASE WHEN n % 3 > 0 THEN timestamptz '2026-01-01' + n * interval '1 s' END",
        "assurance": "CASE WHEN n % 3 > 0 THEN 'reached' ELSE 'claimed' END",
    },
    "intake.one_time_codes": {
        "contact": _OFTEN_MINE,
        "person_ref": _OFTEN_MINE,
        "value_lookup": "CASE WHEN n % 5 = 0 THEN '\\x01' ELSE decode(md5('v' || n), 'hex') END::bytea",
        "network": "CASE WHEN n % 5 = 0 THEN '\\x01' ELSE decode(md5('w' || n), 'hex') END::bytea",
    },
    "intake.accounts": {"kind": "'officer'", "changed_at": "timestamptz '2026-02-01' + n * interval '1 s'"},
    "intake.sessions": {
        "ended_at": "CASE WHEN n % 2 = 0 THEN timestamptz '2026-02-01' + n * interval '1 s' END",
        "expires_at": "timestamptz '2026-02-01 08:00' + n * interval '1 s'",
    },
    "intake.lookup_misses": {"asker": "CASE WHEN n % 5 = 0 THEN '\\x01' ELSE '\\x02' END::bytea"},
    "materials.cases": {"round": "CASE WHEN n = 1 THEN 4000 ELSE n / 10 END"},
    "materials.match_outcomes": {
        "case_no": "CASE WHEN n <= 50000 THEN 'case-1' ELSE 'case-' || n END",
        "round": "n / 10",
        "material": "'material-' || n % 10",
        "outcome": "'matched'",
        "certificate": "md5('materials.certificates.id' || n)::uuid",
    },
    "materials.certificates": {"holder": _OFTEN_MINE, "type_code": "'type-' || n % 1000"},
    "materials.uploads": {"owner": f"CASE WHEN n % 100 = 0 THEN {_MINE} ELSE {_SOMEBODY} END"},
    **{
        f"{service}.jobs": {
            "state": "(ARRAY['done', 'done', 'failed', 'due'])[1 + n % 4]",
            "finished_at": "timestamptz '2026-01-01' + n * interval '1 second'",
            "due_at": "timestamptz '2026-01-01' + n * interval '1 second'",
        }
        for service in SERVICES
    },
    **{
        f"{service}.inbox": {
            "state": "(ARRAY['parked', 'unreadable', 'waiting', 'not_yet', 'retry'])[1 + n % 5]",
            "event": "'{}'",
            "sequence": "2",
        }
        for service in SERVICES
    },
    **{
        f"{service}.undecodable": {"state": "CASE n % 5 WHEN 0 THEN 'parked' ELSE 'dropped' END"}
        for service in SERVICES
    },
    **{f"{service}.gates": {"heard": '\'{"speaker": [0, ""]}\''} for service in SERVICES},
    "notify.inbox_messages": {"recipient": _OFTEN_MINE},
    "notify.deliveries": {
        "id": _NAMED_1,
        "case_no": "'case-' || (1 + n / 5)",
        "state": "CASE n % 5 WHEN 0 THEN 'in_doubt' ELSE 'sent' END",
    },
}

Asked = Callable[[Connection], Any]


@dataclass(frozen=True, slots=True)
class Query:
    """How a query is called here, and how many rows it may look at for that."""

    ask: Asked
    most: int


def of(function: Callable[..., Any], *values: Any, most: int, **named: Any) -> tuple[str, Query]:
    """A function that takes a session first."""
    name = f"{function.__module__}.{function.__qualname__}"
    return name, Query(lambda connection: function(Session(connection), *values, **named), most)


def matters(name: str, *values: Any, most: int) -> tuple[str, Query]:
    """A method of `Published`, which begins transactions of its own."""

    def ask(connection: Connection) -> Any:
        return getattr(Published(connection.engine), name)(*values)

    return f"{Published.__module__}.Published.{name}", Query(ask, most)


DEPARTMENTS = [f"department-{n}" for n in range(20)]
CODES = {f"code-{n:05}" for n in range(1, PAGE + 1)}
# Three times a page where a line is put together from three tables.
QUERIES: list[tuple[str, Query]] = [
    of(approval.lock_cases, set(BATCH), most=len(BATCH)),
    of(approval.calendars, {"7", "8"}, DayRange(date(2025, 1, 1), date(2025, 2, 19)), most=100),
    of(approval.lock_task, UUID(int=1), most=3),
    of(approval.department_of, UUID(int=1), most=1),
    of(approval.task, UUID(int=1), most=2),
    of(approval.queue, DEPARTMENTS, after=None, limit=PAGE, mine=None, most=3 * PAGE + 23),
    of(approval.queue, DEPARTMENTS[:1], after=None, limit=PAGE, mine=None, most=3 * PAGE + 3),
    of(approval.queue, DEPARTMENTS, after=(AT, UUID(int=0)), limit=PAGE, mine=None, most=3 * PAGE + 23),
    of(approval.queue, DEPARTMENTS, after=None, limit=PAGE, mine="officer-1", most=3 * PAGE + 3),
    of(approval.queue, DEPARTMENTS, after=(AT, UUID(int=0)), limit=PAGE, mine="officer-1", most=3 * PAGE + 3),
    of(approval.queue_lengths, AT, 100, most=20 * 201 + 21),
    of(approval.reasons_of, "case-1", most=5),
    of(approval.decisions_of, set(BATCH), most=6 * len(BATCH)),
    of(intake.person_by_lookup, [b"\x01", b"\x02"], most=2),
    of(intake.persons_by_lookup, [b"\x01", b"\x02"], most=2),
    of(intake.lock_lookups, [bytes(8), bytes(8)], most=2),
    of(intake.lock_person, ME, most=2),
    of(intake.contact_point, UUID(int=1), most=1),
    of(intake.recent_codes, OneTimeCode.value_lookup.in_([b"\x01", b"\x02"]), AT, limit=5, most=7),
    of(intake.recent_codes, OneTimeCode.person_ref == ME, AT, limit=10, most=10),
    of(intake.recent_codes, OneTimeCode.network.in_([b"\x01", b"\x02"]), AT, limit=60, most=62),
    of(intake.lock_code, UUID(int=1), most=2),
    of(intake.newest_code, ME, most=1),
    of(intake.newest_code, ME, lock=True, most=3),
    of(intake.case_contacts, {(number, ME, "phone") for number in BATCH}, most=len(BATCH)),
    of(intake.verified_points, {(ME, "phone"), (UUID(int=1), "phone")}, limit=20, most=2 + 20),
    of(intake.acted_in, set(BATCH), most=len(BATCH)),
    of(intake.contact_points, ME, limit=20, most=20),
    of(intake.account, "officer", "subject-1", most=1),
    of(intake.account, "officer", "subject-1", lock=True, most=2),
    of(intake.ended_sessions, AT, AT, None, PAGE, most=PAGE + 1),
    of(intake.ended_sessions, AT, AT, (AT, UUID(int=0)), PAGE, most=PAGE + 1),
    of(intake.client_keys, "client-1", 5, most=5),
    of(intake.changed_accounts, AT, None, PAGE, most=PAGE + 1),
    of(intake.changed_accounts, AT, (AT, "officer", ""), PAGE, most=PAGE + 1),
    of(intake.lock_cases, set(BATCH), most=len(BATCH)),
    of(intake.case, "case-1", most=1),
    of(intake.case_by_digest, bytes(32), most=1),
    of(intake.cases_of, ME, after=None, limit=PAGE, most=2 * PAGE + 4),
    of(intake.cases_of, ME, after=(AT, "case-1"), limit=PAGE, most=2 * PAGE + 4),
    of(intake.lock_consent, "case-1", ME, most=2),
    of(intake.asks_consent, "case-1", ME, most=1),
    of(intake.consents_in, "case-1", most=1),
    of(intake.given_consents, ME, before=None, limit=PAGE, most=2 * PAGE + 2),
    of(intake.given_consents, ME, before=(AT, "case-1"), limit=PAGE, most=2 * PAGE + 2),
    of(intake.open_consents, ME, after=None, limit=PAGE, most=2 * PAGE + 2),
    of(intake.open_consents, ME, after=(AT, "case-1"), limit=PAGE, most=2 * PAGE + 2),
    of(intake.timeline, "case-1", "agent", before=None, limit=PAGE, most=PAGE + 1),
    of(intake.timeline, "case-1", None, before=(AT, "approval", 5), limit=PAGE, most=PAGE + 1),
    of(intake.undecided_of, ME, "matter", ME, ("citizen", "somebody"), most=1),
    of(intake.has_stopped, "case-1", [b"\x01"], most=2),
    of(intake.unasked_contact, "case-1", [b"\x01"], most=1),
    of(intake.lock_unasked_contact, b"\x01", most=1),
    of(intake.counted_today, date(2026, 2, 1), [b"\x01", b"\x02"], most=2),
    of(intake.recent_misses, [b"\x01"], datetime(2020, 1, 1, tzinfo=UTC), 20, most=21),
    of(materials.lock_cases, set(BATCH), most=len(BATCH)),
    of(materials.certificates_of, {ME}, {"type-0", "type-5"}, most=400),
    of(materials.certificate_of_case, "case-1", most=1),
    of(materials.outcomes_of, "case-1", most=11),
    of(materials.last_outcomes, set(BATCH), most=11 * len(BATCH)),
    of(materials.outcomes_in, {(number, 0) for number in BATCH}, most=11 * len(BATCH)),
    of(materials.holders_of, {UUID(int=n) for n in range(PAGE)}, most=PAGE),
    of(materials.upload, UUID(int=1), most=1),
    of(materials.upload_piece, UUID(int=1), 1, most=1),
    of(materials.lock_uploads, {UUID(int=n) for n in range(50)}, most=50),
    of(materials.sealed_names, {UUID(int=n) for n in range(50)}, most=50),
    of(materials.untaken, ME, 50, most=100),
    of(materials.matched_certificates, "case-1", most=21),
    of(materials.upload_of_case, UUID(int=1), "case-1", most=2),
    of(materials.certificate_by_identifier, "identifier-1", most=1),
    of(materials.issued_for, set(BATCH), most=len(BATCH)),
    of(notify.lock_cases, set(BATCH), most=len(BATCH)),
    of(notify.lock_delivery, UUID(int=1), most=3),
    of(notify.lock_deliveries, {UUID(int=n) for n in range(50)}, most=50),
    of(notify.messages_of, ME, "case-1", limit=PAGE, most=2 * PAGE),
    of(notify.inbox_of, ME, after=None, limit=PAGE, most=PAGE + 1),
    of(notify.inbox_of, ME, after=(AT, UUID(int=0)), limit=PAGE, most=PAGE + 1),
    of(notify.code_channels, most=0),
    matters("get", "code-00007", 8, most=3),
    matters("get_all", {(code, int(code[-5:]) + 1) for code in CODES}, most=150),
    matters("latest", "code-00007", most=5),
    matters("latest_of", CODES, most=5 * len(CODES)),
    matters("page", "code-00005", PAGE, most=5 * (PAGE + 1) + 1),
]

TROUBLE = [
    (service, source, kind) for service in SERVICES for source in sources_of(service) for kind in source.kinds
]
SEALED = [(service, table) for service in SERVICES for table in sealed_tables(service)]
RULES = [(service, rule) for service in SERVICES for rule in forgotten(rules_of(service))]

NO_LISTS = {
    "deploy/doctor.py": "asks versions and clocks",
    "deploy/migrate.py": "asks the catalogue of the database",
    "deploy/migrations.py": "asks the catalogue of the database",
    "services/intake/commands.py": "counts once more for the keys it is given, each by a unique index",
    "services/intake/identity/sessions.py": "ends the sessions of one person, by an index",
    "shared/db/concurrently.py": "asks the catalogue of the database",
    "deploy/postgres.py": "asks whether the server answers",
    "deploy/public_subscribers.py": "foreign subscribers are few",
    "deploy/heard.py": "after a restore everything is looked at once",
    "deploy/restored.py": "serials and the clock; what was lost is shown whole",
    "deploy/subscribing.py": "subscriptions are few; cases are seeded a thousand at a time",
    "deploy/trace.py": "one case, by its number",
    "shared/bus/context.py": "one row",
    "shared/bus/comparison.py": "sums of a few minutes; the facts of one, a page at a time",
    "shared/bus/hints.py": "pg_notify",
    "shared/bus/housekeeping.py": "calls functions; what waits in the outbox is counted",
    "shared/bus/idempotency.py": "one row, by its key",
    "shared/bus/jobs.py": "claims, 100 at a time at most",
    "shared/bus/outbox.py": "claims, 200 at a time",
    "shared/bus/lost.py": "what was lost of one case, by its number",
    "shared/bus/measuring.py": "planned here by kind",
    "shared/bus/trouble.py": "planned here by kind",
    "shared/bus/trouble_sources.py": "planned here by kind",
    "services/intake/restored.py": "one sequence",
    "services/notify/trouble.py": "planned here by kind",
    "shared/bus/readable.py": "what an older release could not read, 100 at a time",
    "shared/bus/store.py": "claims, a batch at a time",
    "shared/bus/undecodable.py": "calls a function",
    "shared/bus/unit.py": "calls functions",
    "shared/db/writing.py": "reads what it was given",
    "shared/bus/guard.py": "calls a function that reads one row; the cases of which facts were lost",
    "shared/bus/witness.py": "calls a function that reads one row and a few sequences",
    "shared/clock.py": "one row",
    "shared/bus/rotation.py": "bites and counts: planned here by table",
    "shared/bus/held_forms.py": "one form, and those of one session",
    "shared/db/sealing.py": "the keys of a service",
    "shared/privacy/sealed.py": "asks whether there is a row",
    "shared/retention.py": "rows that are to go, a bite at a time: planned here by rule",
    "shared/db/locking.py": "by the numbers of a batch",
    "shared/db/merging.py": "puts together what others ask",
    "shared/db/migrations/versions/0001_common.py": "functions",
    "shared/db/writable.py": "asks whether a write would succeed",
    "shared/db/waiting.py": "asks whether the database answers",
}
"""Files that read and have no list of their own."""
_TOLD = (
    "Node Type",
    "Relation Name",
    "Index Name",
    "Index Cond",
    "Filter",
    "Actual Rows",
    "Actual Loops",
    "Rows Removed by Filter",
)


@pytest.fixture(scope="module")
def filled(
    postgres: PostgresServer, template_settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    with make_installation(
        postgres, template_settings, tmp_path_factory.mktemp("filled"), None
    ) as installation:
        with installation.admin.begin() as connection:
            fill(connection, ROWS, KNOWN)
            connection.execute(
                text(
                    "INSERT INTO onestop.matters "
                    "SELECT 'code-' || lpad(n::text, 5, '0'), v.version, "
                    "CASE WHEN n <= 60 THEN m.body ELSE 'null' END, '', m.published_at "
                    "FROM generate_series(1, 50000) AS n "
                    "CROSS JOIN LATERAL (VALUES (1), (n + 1)) AS v (version) "
                    "CROSS JOIN (SELECT * FROM onestop.matters LIMIT 1) AS m"
                )
            )
        with installation.admin.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("VACUUM (ANALYZE)"))
        yield installation


@pytest.mark.parametrize(
    ("name", "query"),
    QUERIES,
    ids=[f"{n}-{name.removeprefix('services.')}" for n, (name, _) in enumerate(QUERIES)],
)
def test_a_query_reads_what_it_shows(filled: Installation, name: str, query: Query) -> None:
    _check(plans_of(_engine(filled, name), query.ask), query.most)


@pytest.mark.parametrize(("service", "source", "kind"), TROUBLE, ids=[f"{t[0]}.{t[2]}" for t in TROUBLE])
def test_a_page_of_trouble_and_its_count_read_what_they_show(
    filled: Installation, service: str, source: Source, kind: str
) -> None:
    context = filled.context(service)
    first = list_trouble(context, source, kind, None, PAGE)
    assert len(first) == PAGE
    place = Place(first[-1].since, first[-1].id.split(".", 2)[2])
    for after in (None, place, Place(place.at), Place(place.at, included=True)):
        _check(_plans(context, list_trouble, context, source, kind, after, PAGE), 5 * PAGE)
    one = cast(Source, _Only(source, kind))
    _check(_plans(context, tally_trouble, context, [one]), COUNTED + 3)


class _Only:
    """One kind of a source."""

    def __init__(self, source: Source, kind: str) -> None:
        self.kinds, self.tally = (kind,), source.tally


def test_the_gauges_of_the_outbox_read_as_far_as_they_count(filled: Installation) -> None:
    context = filled.context("intake")
    _check(_plans(context, measure, context, (), ()), COUNTED + 40)


@pytest.mark.parametrize(("service", "rule"), RULES, ids=[f"{s}.{rule.table}" for s, rule in RULES])
def test_finding_what_is_old_reads_a_bite(filled: Installation, service: str, rule: Rule) -> None:
    found = old_rows(service, replace(rule, age=timedelta(days=-9999))).replace("LIMIT most", f"LIMIT {BITE}")
    [plan] = plans_of(filled.admin, lambda connection: connection.exec_driver_sql(found).all())
    assert not plan.sequential(), _told(plan)
    assert plan.sorted_rows() == 0, _told(plan)
    assert 0 < plan.read_rows() <= BITE, _told(plan)


@pytest.mark.parametrize(("service", "table"), SEALED, ids=[f"{s}.{table.name}" for s, table in SEALED])
def test_what_stands_under_an_old_key_is_found_and_counted_a_bite_at_a_time(
    filled: Installation, service: str, table: SealedTable
) -> None:
    place = {name: filled.value(f"SELECT {name} FROM {service}.{table.name} LIMIT 1") for name in table.row}
    for goes_on in (False, True) if table.can_be_sealed_again else ():
        values = {"active": 2**31 - 1, "oldest": 0, **place}
        [plan] = plans_of(
            filled.context(service).engine,
            lambda c, goes_on=goes_on, values=values: c.execute(  # type: ignore[misc]
                rows_to_reseal(service, table, goes_on), values
            ).all(),
        )
        _check([plan], 2 * RESEAL_BITE)
    context = filled.context(service)
    context.vault.lookup("", kind="")
    _check(_plans(context, key_status, context, [table]), COUNTED + 2)


def test_what_reads_and_sorts_everything_is_seen(filled: Installation) -> None:
    everything = "SELECT id FROM approval.tasks WHERE state <> 'done' ORDER BY due_at, id LIMIT 50"
    plan = plans_of(
        filled.context("approval").engine, lambda connection: connection.exec_driver_sql(everything).all()
    )[0]
    assert plan.read_rows() > 1000
    assert plan.sorted_rows() > MOST
    whole = "SELECT count(*) FROM notify.inbox_messages WHERE title = ''"
    plan = plans_of(
        filled.context("notify").engine, lambda connection: connection.exec_driver_sql(whole).all()
    )[0]
    assert plan.sequential() == ["inbox_messages"]


def _plans(context: ServiceContext, function: Callable[..., Any], *values: Any) -> list[Plan]:
    """Of a function that begins its own transactions."""
    return plans_of(context.engine, lambda _: function(*values))


def _check(plans: list[Plan], most: int) -> None:
    """Nothing is read from end to end but the clock, nothing sorted beyond a page, no more looked at."""
    plans = [plan for plan in plans if "onestop.clock" not in plan.sent.sql]
    assert plans, "it asked nothing"
    for plan in plans:
        assert set(plan.sequential()) <= NOT_FILLED, _told(plan)
        assert plan.sorted_rows() <= MOST, _told(plan)
    read = sum(plan.read_rows() for plan in plans)
    assert read <= most, f"{read} rows:\n" + "\n".join(map(_told, plans))


def _engine(installation: Installation, name: str) -> Engine:
    """With the rights and limits of the service whose query it is."""
    service = name.split(".")[1]
    return installation.context(service if service in SERVICES else "intake").engine


def _told(plan: Plan) -> str:
    lines = [plan.sent.sql]
    waiting = [(0, plan.root)]
    while waiting:
        depth, node = waiting.pop()
        told = {key: node[key] for key in _TOLD if key in node}
        lines.append("  " * depth + str(told))
        waiting += [(depth + 1, inner) for inner in reversed(node.get("Plans", []))]
    return "\n".join(lines)
