"""How long the rows of approval's tables stay."""

from shared.retention import with_the_case, with_the_release

RULES = (
    with_the_case("cases", 930, "the state of a case and its clock"),
    with_the_case("tasks", 1090, "who decided what, when, and for which reasons"),
    with_the_case("task_acts", 0, "who took a task from whom, gave it to whom, and why; few cases have any"),
    with_the_release("work_calendar", "a row a region and day"),
)
