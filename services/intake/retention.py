"""How long the rows of intake's tables stay."""

from datetime import timedelta

from shared.retention import for_a_time, with_the_case, with_the_person, with_the_release

RULES = (
    with_the_person("persons", "somebody is met again under the same reference"),
    for_a_time(
        "contact_points",
        timedelta(days=1),
        since="added_at",
        which="assurance = 'claimed'",
        which_in_words="contacts that nobody verified",
        why="whoever adds a contact verifies it at once; a verified one stays as long as the person is known",
    ),
    for_a_time(
        "one_time_codes",
        timedelta(days=1),
        since="made_at",
        why="good for ten minutes; a day counts how many a number, a person and a network had",
    ),
    with_the_case("case_contacts", 300, "how its form says that people are reached about it"),
    with_the_case(
        "person_reads", 1040, "who read what and why; at least three years by PIPL art. 56, so with the case"
    ),
    with_the_case("cases", 3900, "the application and the citizen's view of it"),
    with_the_case("consents", 530, "who was asked for consent, gave it, took it back, and what proves it"),
    with_the_case("timeline", 3600, "what happened, as the citizen saw it"),
    with_the_release("accounts", "who comes by office and what they may do; the latest only"),
    with_the_release("client_keys", "public keys of client programs, and who added and removed them"),
    for_a_time(
        "client_assertions",
        timedelta(days=1),
        since="spent_at",
        why="what was signed to log in is good for minutes; nobody uses it twice",
    ),
    for_a_time(
        "sessions",
        timedelta(days=183),
        since="expires_at",
        why="who was logged in when, and how it ended; at least six months by 网络安全法 art. 21",
    ),
    for_a_time(
        "provider_sessions",
        timedelta(days=1),
        since="expires_at",
        why="by which an identity provider ends a session; after that nobody needs it",
    ),
    for_a_time(
        "lookup_misses",
        timedelta(days=1),
        since="missed_at",
        why="ten minutes close the door; a day shows whoever looks who tried",
    ),
    with_the_person(
        "unasked_contacts", "who stopped notices of cases that they did nothing in: that must hold"
    ),
    for_a_time(
        "unasked_notices",
        timedelta(days=2),
        since="asked_at",
        why="a message counts once for its number's day, however often it is tried",
    ),
    for_a_time(
        "day_counts",
        timedelta(days=2),
        since="counted_at",
        why="limits are a day's; a day more shows whoever looks that one was reached",
    ),
)
