"""The SQL of `onestop restored`: what the other services heard of one, and how it is brought up to that.

All of it runs as the administrator, in the one transaction of the command.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text

from deploy.services import subscriptions
from shared.bus.lost import UNHEARD
from shared.bus.wire import FORMS
from shared.events.intake import CaseSubmitted

_MOST_APART = 100
_FORMS = {f"{name}_form": f"^(?:{FORMS[name].pattern})$" for name in ("id", "sequence", "subject", "type")}


def subscribers_of(service: str) -> list[str]:
    """Who hears this service."""
    return sorted(name for name, speakers in subscriptions().items() if service in speakers)


@dataclass(frozen=True, slots=True)
class Heard:
    """What others heard of a service beyond what it knows to have said, of the moment of a transaction.

    `unknown`: fact by fact, what their gates passed and what follows it without a gap, as far as it is not
    noted as lost. `apart`: case -> facts in its name that lie with others and follow nothing that was heard,
    of a few cases: anybody may have put them there.
    """

    unknown: list[dict[str, Any]]
    apart: dict[str, int]


def heard_of(connection: Connection, service: str) -> Heard:
    """Look at all gates, inboxes and messages of the others, once."""
    rows = connection.execute(
        text(
            f"{_heard(service)} SELECT t.case_no, n AS sequence, COALESCE(b.tail, :unheard) AS tail, "
            "NULLIF(b.fact, '') AS fact, 0 AS apart "
            f"FROM tops AS t LEFT JOIN {service}.cases AS c ON c.number = t.case_no "
            "CROSS JOIN LATERAL generate_series(COALESCE(c.sequence, 0) + 1, t.top) AS n "
            "LEFT JOIN best AS b ON b.case_no = t.case_no AND b.sequence = n "
            f"WHERE NOT EXISTS (SELECT 1 FROM {service}.lost_facts AS l WHERE l.case_no = t.case_no "
            "AND l.sequence = n) "
            "UNION ALL (SELECT case_no, NULL, NULL, NULL, count(*) FROM above WHERE NOT follows "
            "GROUP BY case_no ORDER BY case_no LIMIT :most)"
        ),
        {"speaker": service, "unheard": UNHEARD, "most": _MOST_APART, **_FORMS},
    ).mappings()
    found = Heard([], {})
    for row in rows:
        if row["apart"]:
            found.apart[row["case_no"]] = row["apart"]
        else:
            found.unknown.append({name: row[name] for name in ("case_no", "sequence", "tail", "fact")})
    return found


def note_lost(connection: Connection, service: str, unknown: Sequence[Mapping[str, Any]]) -> None:
    """Let the service know what it lost, and what those facts were."""
    connection.execute(
        text(
            f"INSERT INTO {service}.lost_facts (case_no, sequence, tail, fact) SELECT * FROM "
            "jsonb_to_recordset(CAST(:unknown AS jsonb)) "
            "AS r(case_no text, sequence int, tail text, fact text)"
        ),
        {"unknown": json.dumps(list(unknown))},
    )
    _name(connection, service)


def jump_sequences(connection: Connection, service: str) -> None:
    """The next fact about a case is numbered after all that was heard, and follows the last of them."""
    connection.execute(
        text(
            f"UPDATE {service}.cases AS c SET sequence = l.sequence, last_fact = CAST("
            "'00000000-0000-7000-' || substr(l.tail, 1, 4) || '-' || substr(l.tail, 5) AS uuid) "
            f"FROM (SELECT DISTINCT ON (case_no) case_no, sequence, tail FROM {service}.lost_facts "
            "ORDER BY case_no, sequence DESC) AS l WHERE c.number = l.case_no AND c.sequence < l.sequence"
        )
    )


def count_as_said(connection: Connection, service: str) -> None:
    """What was heard was said: it counts so, and is not counted again where it is handed on once more."""
    others = subscribers_of(service)
    gates = " UNION ALL ".join(
        "SELECT case_no, (heard->:speaker->>0)::int + length(heard->:speaker->>1) / 16 AS last "
        f"FROM {other}.gates WHERE jsonb_exists(heard, :speaker)"
        for other in others
    )
    tallies = " UNION ALL ".join(
        f"SELECT minute, sum(facts) AS facts, bit_xor(tails) AS tails FROM {other}.heard_tally "
        "WHERE speaker = :speaker GROUP BY minute"
        for other in others
    )
    values = {"speaker": service}
    connection.execute(
        text(
            f"UPDATE {service}.outbox AS o SET again = true FROM ({gates}) AS g WHERE o.sent_at IS NULL "
            "AND o.case_no = g.case_no AND (o.event->>'sequence')::int <= g.last"
        ),
        values,
    )
    connection.execute(
        text(
            f"INSERT INTO {service}.said_tally SELECT h.minute, h.facts - COALESCE(s.facts, 0), "
            "h.tails # COALESCE(s.tails, 0), clock_timestamp() FROM (SELECT DISTINCT ON (minute) * "
            f"FROM ({tallies}) AS all_of_them ORDER BY minute, facts DESC) AS h LEFT JOIN (SELECT minute, "
            f"sum(facts) AS facts, bit_xor(tails) AS tails FROM {service}.said_tally GROUP BY minute) AS s "
            "USING (minute) WHERE h.facts > COALESCE(s.facts, 0)"
        ),
        values,
    )


def hear_again(connection: Connection, service: str) -> None:
    """Speakers keep what this service has to hear once more; the comparison finds out what that is."""
    for speaker in subscriptions()[service]:
        connection.execute(
            text(
                f"UPDATE {speaker}.confirmations SET through = LEAST(through, COALESCE((SELECT compared_to "
                f"FROM {service}.comparisons WHERE speaker = :speaker), '-infinity')) "
                "WHERE subscriber = :service"
            ),
            {"speaker": speaker, "service": service},
        )


def give_up(connection: Connection, service: str, other: str, case: str, sequences: list[int]) -> None:
    """What nobody can say again does not hold back a subscriber that has not heard it."""
    values = {"case": case, "speaker": service, "sequences": sequences}
    connection.execute(
        text(
            f"INSERT INTO {other}.inbox (id, speaker, case_no, sequence, type, state, received_at) "
            # It ends as the lost one did, whom the next one follows.
            "SELECT CAST(substr(md5(l.case_no || '/' || l.sequence), 1, 16) || l.tail AS uuid), :speaker, "
            "l.case_no, l.sequence, 'onestop.' || :speaker || '.' || COALESCE(l.fact, 'unknown') || '.v1', "
            f"'dropped', clock_timestamp() FROM {service}.lost_facts AS l "
            f"LEFT JOIN {other}.gates AS g ON g.case_no = l.case_no "
            "WHERE l.case_no = :case AND l.sequence = ANY(:sequences) AND l.sequence > COALESCE("
            "(g.heard->:speaker->>0)::int + length(g.heard->:speaker->>1) / 16, 0) "
            "ON CONFLICT (id) DO NOTHING"
        ),
        values,
    )
    connection.execute(
        text(f"SELECT {other}.look_at_next(:case, :speaker, clock_timestamp())"),
        {"case": case, "speaker": service},
    )


def _name(connection: Connection, service: str) -> None:
    """What the lost facts were, as far as somebody shows it: the citizen's timeline."""
    if service == CaseSubmitted.speaker:
        connection.execute(
            text(
                # What it said later nobody shows in a place of its own: that stays unknown.
                f"UPDATE {service}.lost_facts SET fact = :first WHERE fact IS NULL AND sequence = 1"
            ),
            {"first": CaseSubmitted.called},
        )
        return
    front = CaseSubmitted.speaker
    connection.execute(
        text(
            f"UPDATE {service}.lost_facts AS l SET fact = t.fact FROM {front}.timeline AS t "
            "WHERE l.fact IS NULL AND t.case_no = l.case_no AND t.service = :service "
            "AND t.sequence = l.sequence"
        ),
        {"service": service},
    )


def _heard(service: str) -> str:
    """SQL: `best`, each fact that others know and the service does not; `above`, those of them that no gate
    has passed, and whether they follow what was heard without a gap; `tops`, how far each case was heard."""
    others = subscribers_of(service)
    gates = " UNION ALL ".join(
        "SELECT case_no, (heard->:speaker->>0)::int AS start, heard->:speaker->>1 AS tails "
        f"FROM {other}.gates WHERE jsonb_exists(heard, :speaker)"
        for other in others
    )
    lying = " UNION ALL ".join(
        part_
        for other in others
        for part_ in (
            "SELECT case_no, sequence::bigint, right(replace(id::text, '-', ''), 16) AS tail, type "
            f"FROM {other}.inbox WHERE speaker = :speaker",
            # Nobody has looked at these yet: cast is only what a fact of ours can hold.
            "SELECT e->>'subject', CASE WHEN e->>'sequence' ~ :sequence_form "
            "THEN (e->>'sequence')::bigint END, right(replace(e->>'id', '-', ''), 16), "
            "CASE WHEN e->>'type' ~ :type_form THEN e->>'type' END "
            f"FROM {other}.messages AS m CROSS JOIN jsonb_array_elements(m.facts) AS e "
            "WHERE m.speaker = :speaker AND e->>'subject' ~ :subject_form AND e->>'id' ~ :id_form",
        )
    )
    return (
        f"WITH passed AS MATERIALIZED ({gates}), "
        "gates AS (SELECT case_no, max(start + length(tails) / 16) AS last FROM passed GROUP BY case_no), "
        "heard AS (SELECT b.case_no, (b.start + n)::bigint AS sequence, substr(b.tails, n * 16 - 15, 16) "
        "AS tail, NULL::text AS type FROM (SELECT p.*, COALESCE(c.sequence, 0) AS known FROM passed AS p "
        f"LEFT JOIN {service}.cases AS c ON c.number = p.case_no) AS b, "
        "generate_series(GREATEST(1, b.known - b.start + 1), length(b.tails) / 16) AS n "
        f"UNION ALL SELECT l.* FROM ({lying}) AS l (case_no, sequence, tail, type) "
        f"LEFT JOIN {service}.cases AS c ON c.number = l.case_no "
        "WHERE l.sequence > COALESCE(c.sequence, 0) AND l.sequence <= 2147483647), "
        "best AS (SELECT case_no, sequence::int AS sequence, max(tail) AS tail, "
        "split_part(max(type), '.', 3) AS fact FROM heard GROUP BY case_no, sequence), "
        "above AS (SELECT f.case_no, f.sequence, f.sequence - row_number() OVER (PARTITION BY f.case_no "
        "ORDER BY f.sequence) = f.known AS follows FROM (SELECT b.case_no, b.sequence, "
        "GREATEST(COALESCE(c.sequence, 0), COALESCE(g.last, 0)) AS known FROM best AS b "
        f"LEFT JOIN {service}.cases AS c ON c.number = b.case_no LEFT JOIN gates AS g USING (case_no)) AS f "
        "WHERE f.sequence > f.known), "
        "tops AS (SELECT case_no, max(last) AS top FROM (SELECT case_no, last FROM gates UNION ALL "
        "SELECT case_no, sequence FROM above WHERE follows) AS ends GROUP BY case_no)"
    )
