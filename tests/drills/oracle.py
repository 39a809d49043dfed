"""What was promised against what is there: the ledger, the SMS gateway's books, the database, the broker."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, create_engine, text
from sqlalchemy.pool import NullPool

from deploy.services import SERVICES, subscriptions
from shared.bus.topology import read_queues
from shared.settings import Settings, database_url
from tests.drills.driver import Ledger
from tests.drills.house import House


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
        """Nothing went wrong."""
        return not (self.lost or self.duplicated or self.unexpected or self.out_of_order or self.stuck)


class Books:
    """Reads the database as its administrator."""

    def __init__(self, settings: Settings) -> None:
        url = database_url(settings, settings.db.admin_user)
        self._engine = create_engine(url, poolclass=NullPool)

    def connect(self) -> Connection:
        """A connection; the caller closes it."""
        return self._engine.connect()

    def open_work(self) -> dict[str, int]:
        """What is still under way, by kind; empty when the house is quiet."""
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
                    f"SELECT count(*) FROM {service}.inbox WHERE state NOT IN ('done', 'parked', 'dropped')",
                )
        return {kind: count for kind, count in found.items() if count}


def judge(house: House, ledger: Ledger) -> Verdict:
    """Compare everything, once the house is quiet or has been given up on."""
    books = Books(house.settings)
    with books.connect() as c:
        numbers = set(c.execute(text("SELECT number FROM intake.cases")).scalars())
        deliveries = {str(d) for d in c.execute(text("SELECT id FROM notify.deliveries")).scalars()}
        promised = set(ledger.acknowledged.values())
        sent = Counter(str(taken.out_id) for taken in house.sms.taken())
        twice = {out_id: times for out_id, times in sent.items() if times > 1}
        doubles = _doubles(c)
        disorder = _disorder(c)
        parked = sum(_count(c, f"SELECT count(*) FROM {s}.inbox WHERE state = 'parked'") for s in SERVICES)
        parked += sum(_count(c, f"SELECT count(*) FROM {s}.undecodable") for s in SERVICES)
    stuck = books.open_work()
    left = {q.name: q.messages for q in read_queues(house.rabbitmq.url, SERVICES) if q.messages}
    keys_with_two = len([key for key in ledger.acknowledged if key.endswith("#again")])
    return Verdict(
        attempted=len(ledger.attempted),
        acknowledged=len(promised),
        lost=len(promised - numbers),
        duplicated=keys_with_two + len(twice) + sum(doubles.values()),
        unexpected=len(numbers - promised) + len(set(sent) - deliveries),
        out_of_order=sum(disorder.values()),
        stuck=sum(stuck.values()) + sum(left.values()),
        parked=parked,
        notes={
            "lost": sorted(promised - numbers)[:5],
            "sms_twice": list(twice)[:5],
            "doubles": doubles,
            "disorder": disorder,
            "open": stuck,
            "queues": left,
        },
    )


def _doubles(c: Connection) -> dict[str, int]:
    """Effects that one intent had more than once."""
    groups = {
        "tasks": "SELECT 1 FROM approval.tasks GROUP BY case_no, step",
        "certificates": "SELECT 1 FROM materials.certificates WHERE case_no IS NOT NULL GROUP BY case_no",
        "deliveries": "SELECT 1 FROM notify.deliveries GROUP BY case_no, channel, template",
        "messages": "SELECT 1 FROM notify.inbox_messages GROUP BY case_no, title",
        "outcomes": "SELECT 1 FROM materials.match_outcomes GROUP BY case_no, round, material",
    }
    found = {
        kind: _count(c, f"SELECT count(*) FROM ({group} HAVING count(*) > 1) AS g")
        for kind, group in groups.items()
    }
    found["accepted"] = _count(
        c,
        "SELECT count(*) FROM (SELECT 1 FROM intake.timeline WHERE fact IN ('case-accepted', 'case-decided', "
        "'case-closed', 'certificate-issued', 'correction-required') GROUP BY case_no, fact "
        "HAVING count(*) > 1) AS g",
    )
    return {kind: count for kind, count in found.items() if count}


def _disorder(c: Connection) -> dict[str, int]:
    """Cases of which a consumer has not handled exactly what the speaker has said."""
    found = {}
    for consumer, speakers in subscriptions().items():
        for speaker in speakers:
            found[f"{speaker}->{consumer}"] = _count(
                c,
                f"SELECT count(*) FROM {speaker}.cases s LEFT JOIN {consumer}.gates g ON g.case_no = "
                "s.number "
                f"WHERE s.sequence <> coalesce((g.heard->>'{speaker}')::int, 0)",
            )
    return {pair: count for pair, count in found.items() if count}


def _count(c: Connection, sql: str) -> int:
    return int(c.execute(text(sql)).scalar_one())
