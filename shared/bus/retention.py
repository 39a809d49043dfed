"""How long the rows of the delivery tables stay; the same in every service."""

from datetime import timedelta

from shared.retention import for_a_time, until_handled, with_the_case, with_the_release

RULES = (
    until_handled(
        "outbox",
        "a ring of 16 days: a day is emptied when its turn comes again and all of it was handed on; until "
        "then a fact can be traced and handed on once more",
    ),
    until_handled(
        "public_outbox", "a fact goes when the broker has confirmed it; only where foreign subscribers are"
    ),
    until_handled("messages", "a message goes with the transaction that handles its facts"),
    until_handled(
        "inbox", "only what waits, failed or was given up lies here; it goes when its gate has passed it"
    ),
    with_the_case("gates", 700, "what of a case was handled: a fact that comes again must be told apart"),
    for_a_time(
        "jobs",
        timedelta(days=7),
        since="finished_at",
        which="state IN ('done', 'dropped')",
        which_in_words="done, or given up by people",
        why="what became of a call to the outside is asked within days; open and failed jobs stay",
    ),
    until_handled("said_tally", "folded to one row a minute after an hour, and gone after 16 days"),
    until_handled("heard_tally", "folded to one row a minute and speaker after an hour, gone after 16 days"),
    with_the_release("comparisons", "one row a speaker"),
    with_the_release("confirmations", "one row a subscriber"),
    for_a_time(
        "undecodable",
        timedelta(days=90),
        since="received_at",
        why="bytes that are no event: long enough to find out who sent them, whether dropped or not",
    ),
    for_a_time(
        "undecodable_counts",
        timedelta(days=90),
        since="hour",
        why="how many there were, for as long as examples of them are kept",
    ),
    for_a_time(
        "trouble_acts",
        timedelta(days=3 * 365),
        since="acted_at",
        why="who retried or dropped what: as long as other records of who did what must be kept",
    ),
    with_the_release("locks", "one row a lock"),
    with_the_release("data_keys", "one row a key"),
    with_the_release("witness", "one row"),
    with_the_release("id_secret", "one row"),
    with_the_case("lost_facts", 0, "after a restore only: what was said since the copy"),
    for_a_time(
        "idempotency_keys",
        timedelta(days=7),
        since="created_at",
        why="a client that has not come back within a week asks anew",
    ),
    for_a_time(
        "held_forms",
        timedelta(days=1),
        since="held_at",
        why="whoever was logged out while they filled in a form goes on with it the same day",
    ),
    with_the_release("alembic_version", "one row"),
)
