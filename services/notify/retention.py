"""How long the rows of notify's tables stay."""

from shared.retention import with_the_case, with_the_release

RULES = (
    with_the_case("cases", 350, "whom to tell"),
    with_the_case("deliveries", 1770, "who was told what, when, and whether it arrived"),
    with_the_case("inbox_messages", 1520, "what stands in the citizen's inbox"),
    with_the_release("code_channels", "one row a kind of contact"),
)
