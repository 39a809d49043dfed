"""How long the rows of materials' tables stay."""

from datetime import timedelta

from shared.retention import for_a_time, with_another_row, with_the_case, with_the_person

UNTAKEN_FOR = timedelta(days=7)

RULES = (
    with_the_case("cases", 740, "the checklist of a case"),
    with_the_case("match_outcomes", 720, "how each material was met, round by round"),
    with_the_person("certificates", "valid or not, a certificate is looked up by whoever was shown it"),
    with_the_case("use_grants", 290, "what allowed reading (国令809: purpose-bound)"),
    with_the_case("grant_withdrawals", 0, "when a grant ended before its case did; few cases have one"),
    with_the_case("use_records", 860, "each reading of a certificate"),
    with_another_row("upload_pieces", "uploads", "what is in a file goes with it, in `uploads`"),
    with_the_case("upload_reads", 0, "each reading of a citizen's file; cases without files have none"),
    for_a_time(
        "uploads",
        UNTAKEN_FOR,
        since="held_at",
        which="case_no IS NULL",
        which_in_words="files that no case took",
        why="whoever gave a file applies within a week; a file that a case took stays as long as the case",
        # Each takes its pieces along.
        bite=50,
    ),
)
