"""What was promised against what is there: the ledger, the SMS gateway's books, the database, the broker."""

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, create_engine, text
from sqlalchemy.pool import NullPool

from deploy.services import SERVICES, sealed_tables, subscriptions
from services.notify.rules.delivery import DeliveryState
from services.notify.rules.notices import plan_notices
from shared.bus.topology import read_queues
from shared.context import build_context
from shared.db.engine import database_url
from shared.events.fact import seen_facts
from shared.events.notify import IN_APP
from shared.settings import Settings
from tests.drills.driver import Ledger
from tests.drills.installation import Installation

Culprits = Mapping[str, Sequence[Any]]
SMS = "sms"
FAULTS = ("answers", "deadlocks", "ended_by_themselves", "stopped_badly")
"""Notes that make a run bad by themselves."""


@dataclass(slots=True)
class Verdict:
    """Jepsen's words. `notes` names the first culprits of each kind, for whoever looks."""

    attempted: int
    acknowledged: int
    lost: int
    duplicated: int
    unexpected: int
    out_of_order: int
    stuck: int
    parked: int
    notes: dict[str, Any]

    @property
    def good(self) -> bool:
        """Nothing went wrong, and whatever died was killed."""
        wrong = (self.lost, self.duplicated, self.unexpected, self.out_of_order, self.stuck, self.parked)
        return not any(wrong) and not any(self.notes.get(name) for name in FAULTS)


class Books:
    """Reads the database as its administrator."""

    def __init__(self, settings: Settings) -> None:
        url = database_url(settings, settings.db.admin_user)
        self._engine = create_engine(url, poolclass=NullPool)

    def connect(self) -> Connection:
        """A connection; the caller closes it."""
        return self._engine.connect()

    def open_work(self) -> dict[str, int]:
        """What is still under way, by kind; empty when the installation is quiet."""
        with self.connect() as c:
            found = {
                "cases": _count(c, "SELECT count(*) FROM intake.cases WHERE closed_at IS NULL"),
                "deliveries": _count(
                    c, "SELECT count(*) FROM notify.deliveries WHERE state NOT IN ('sent', 'failed')"
                ),
            }
            for service in SERVICES:
                found[f"{service}.outbox"] = _count(
                    c, f"SELECT count(*) FROM {service}.outbox WHERE sent_at IS NULL"
                )
                found[f"{service}.inbox"] = _count(
                    c,
                    f"SELECT (SELECT count(*) FROM {service}.inbox WHERE state NOT IN ('parked', 'dropped')) "
                    f"+ (SELECT count(*) FROM {service}.messages)",
                )
                if all(table.can_be_sealed_again for table in sealed_tables(service)):
                    found[f"{service}.rotation"] = _count(
                        c, f"SELECT count(*) FROM {service}.data_keys WHERE state = 'retiring'"
                    )
            for subscriber, speakers in subscriptions().items():
                for speaker in speakers:
                    found[f"{speaker} not heard by {subscriber}"] = _unheard(c, speaker, subscriber)
        return {kind: count for kind, count in found.items() if count}


def _unheard(c: Connection, speaker: str, subscriber: str) -> int:
    """Facts said about all cases that the subscriber's gates do not know: on their way, or lost on it."""
    said = _count(c, f"SELECT COALESCE(sum(sequence), 0) FROM {speaker}.cases")
    heard = _count(
        c,
        f"SELECT COALESCE(sum({_last(speaker)}), 0) FROM {subscriber}.gates AS g",
    )
    return said - heard


def _last(speaker: str) -> str:
    """The last sequence of a speaker that a gate `g` let pass, in SQL."""
    heard = f"g.heard->'{speaker}'"
    return f"COALESCE(({heard}->>0)::int + length({heard}->>1) / 16, 0)"


def waiting_messages(installation: Installation) -> dict[str, int]:
    """Queues that are not empty, with how many messages wait there."""
    if installation.rabbitmq is None:
        return {}
    return {q.name: q.messages for q in read_queues(installation.rabbitmq.admin_url, SERVICES) if q.messages}


def judge(installation: Installation, ledger: Ledger) -> Verdict:
    """Compare everything, once the installation is quiet or has been given up on."""
    books = Books(installation.settings)
    with books.connect() as c:
        numbers = set(c.execute(text("SELECT number FROM intake.cases")).scalars())
        due, made = _notices_due(c, installation), _notices_made(c)
        sms = {id_ for id_, notice in made.items() if notice.channel != IN_APP}
        told = {id_ for id_ in sms if made[id_].state == DeliveryState.SENT}
        doubles, disorder, ends = _doubles(c), _disorder(c, installation.brought_back), _not_at_their_end(c)
        parked = sum(_count(c, f"SELECT count(*) FROM {s}.inbox WHERE state = 'parked'") for s in SERVICES)
        undecodable = _undecodable(c)
    hostile = installation.hostile
    parked += len(undecodable - hostile.attempted)
    promised = set(ledger.acknowledged.values())
    sent = Counter(str(taken.out_id) for taken in installation.sms.taken())
    untold = due - {notice.intent for notice in made.values()}
    beyond = {notice.intent for notice in made.values()} - due
    # Who was never answered may have been served all the same.
    unanswered = len(ledger.attempted) - len(ledger.acknowledged)
    lost: Culprits = {
        "cases": sorted(promised - numbers),
        "notices": sorted(untold),
        "sms": sorted(told - set(sent)),
        "hostile messages": sorted(hostile.confirmed - undecodable),
    }
    duplicated: Culprits = {
        "keys": [key for key in ledger.acknowledged if key.endswith("#again")],
        "sms": [out_id for out_id, times in sent.items() if times > 1],
        **doubles,
    }
    unexpected: Culprits = {
        "cases": sorted(numbers - promised)[max(0, unanswered) :],
        "notices": sorted(beyond),
        "sms": sorted(set(sent) - sms),
    }
    stuck = {**books.open_work(), **ends, **waiting_messages(installation)}
    return Verdict(
        attempted=len(ledger.attempted),
        acknowledged=len(promised),
        lost=_size(lost),
        duplicated=_size(duplicated),
        unexpected=_size(unexpected),
        out_of_order=sum(disorder.values()),
        stuck=sum(stuck.values()),
        parked=parked,
        notes={
            "lost": _first(lost),
            "duplicated": _first(duplicated),
            "unexpected": _first(unexpected),
            "out_of_order": disorder,
            "stuck": stuck,
            "parked": sorted(undecodable - hostile.attempted)[:5],
        },
    )


def _undecodable(c: Connection) -> set[tuple[str, str]]:
    """Hash and service of every message that was set aside."""
    found = " UNION ALL ".join(f"SELECT sha256, '{s}' AS service FROM {s}.undecodable" for s in SERVICES)
    return {(row.sha256, row.service) for row in c.execute(text(found))}


def _size(culprits: Culprits) -> int:
    return sum(len(some) for some in culprits.values())


def _first(culprits: Culprits) -> Culprits:
    return {kind: some[:5] for kind, some in culprits.items() if some}


@dataclass(frozen=True, slots=True)
class Notice:
    """One delivery: which fact is told, by which channel, and how far it is."""

    fact: str
    channel: str
    template: str
    state: str

    @property
    def intent(self) -> tuple[str, str, str]:
        """What must be there exactly once."""
        return self.fact, self.channel, self.template


def _notices_made(c: Connection) -> dict[str, Notice]:
    rows = c.execute(text("SELECT id, fact, channel, template, state FROM notify.deliveries"))
    return {str(row.id): Notice(str(row.fact), row.channel, row.template, row.state) for row in rows}


def _notices_due(c: Connection, installation: Installation) -> set[tuple[str, str, str]]:
    """What every fact that was said has to bring about, by the matter file."""
    matters = build_context(installation.settings, "notify").matters
    rows = c.execute(text("SELECT number, matter, matter_version FROM intake.cases"))
    cases = {row.number: matters.get(row.matter, row.matter_version) for row in rows}
    due = set()
    for speaker in subscriptions()["notify"]:
        for row in c.execute(text(f"SELECT case_no, event FROM {speaker}.outbox")):
            name = ".".join(row.event["type"].split(".")[1:3])
            notice = cases[row.case_no].notice_for(name, row.event["data"])
            if notice is None:
                continue
            # Everybody applies for themselves in a drill.
            for plan in plan_notices(notice, {"applicant": str(UUID(int=0))}, {SMS}):
                due.add((str(row.event["id"]), plan.channel, plan.template))
    return due


def _not_at_their_end(c: Connection) -> dict[str, int]:
    """Nobody is refused in a drill, no gateway refuses, and every step is worked."""
    questions = {
        "not approved": "intake.cases WHERE outcome IS DISTINCT FROM 'approved'",
        "no certificate": "intake.cases WHERE number NOT IN "
        "(SELECT case_no FROM materials.certificates WHERE case_no IS NOT NULL)",
        "tasks": "approval.tasks WHERE state <> 'done'",
        "failed deliveries": "notify.deliveries WHERE state = 'failed'",
        "jobs": "({}) AS j".format(
            " UNION ALL ".join(f"SELECT 1 FROM {s}.jobs WHERE state <> 'done'" for s in SERVICES)
        ),
        "parked": "({}) AS p".format(
            " UNION ALL ".join(f"SELECT 1 FROM {s}.inbox WHERE state = 'parked'" for s in SERVICES)
        ),
    }
    found = {kind: _count(c, f"SELECT count(*) FROM {question}") for kind, question in questions.items()}
    return {kind: count for kind, count in found.items() if count}


def _doubles(c: Connection) -> dict[str, list[str]]:
    """Cases in which one intent had more than one effect, by the kind of effect."""
    once = "('case-accepted', 'case-decided', 'case-closed', 'certificate-issued', 'correction-required')"
    groups = {
        "tasks": "approval.tasks GROUP BY case_no, step",
        "certificates": "materials.certificates WHERE case_no IS NOT NULL GROUP BY case_no",
        "deliveries": "notify.deliveries GROUP BY case_no, channel, template",
        "messages": "notify.inbox_messages GROUP BY case_no, title",
        "outcomes": "materials.match_outcomes GROUP BY case_no, round, material",
        "timeline": f"intake.timeline WHERE fact IN {once} GROUP BY case_no, fact",
    }
    found = {
        kind: list(c.execute(text(f"SELECT case_no FROM {group} HAVING count(*) > 1")).scalars())
        for kind, group in groups.items()
    }
    return {kind: cases for kind, cases in found.items() if cases}


def _disorder(c: Connection, brought_back: Set[str]) -> dict[str, int]:
    """Cases of which a consumer has not handled exactly what the speaker has said, in unbroken order."""
    found = {}
    for speaker in SERVICES:
        # What is said again has its old number, in whatever order its causes come again.
        order = "(event->>'sequence')::int" if speaker in brought_back else "id"
        found[f"holes in what {speaker} said"] = _count(
            c,
            "SELECT count(*) FROM (SELECT 1 FROM (SELECT case_no, (event->>'sequence')::int AS n, "
            f"row_number() OVER (PARTITION BY case_no ORDER BY {order}) AS nth FROM {speaker}.outbox) "
            "AS said GROUP BY case_no HAVING bool_or(n <> nth)) AS broken",
        )
    seen = ", ".join(f"'{fact.type}'" for fact in seen_facts())
    told = " UNION ALL ".join(
        f"SELECT case_no, '{s}' AS service FROM {s}.outbox WHERE event->>'type' IN ({seen})" for s in SERVICES
    )
    found["timeline"] = _count(
        c,
        "SELECT count(*) FROM (SELECT case_no, service, count(*) AS n FROM intake.timeline GROUP BY 1, 2) "
        f"AS shown FULL JOIN (SELECT case_no, service, count(*) AS n FROM ({told}) AS o GROUP BY 1, 2) "
        "AS said USING (case_no, service) WHERE shown.n IS DISTINCT FROM said.n",
    )
    for consumer, speakers in subscriptions().items():
        for speaker in speakers:
            found[f"{speaker}->{consumer}"] = _count(
                c,
                f"SELECT count(*) FROM {speaker}.cases AS s LEFT JOIN {consumer}.gates AS g "
                f"ON g.case_no = s.number WHERE s.sequence <> {_last(speaker)}",
            )
    return {pair: count for pair, count in found.items() if count}


def _count(c: Connection, sql: str) -> int:
    return int(c.execute(text(sql)).scalar_one())
