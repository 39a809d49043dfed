"""What must hold of the steps of a matter: every way through them decides exactly once, and last."""

from collections.abc import Iterator, Mapping
from itertools import groupby, product

from shared.catalogue.lint_facts import Domain, condition_findings, near
from shared.catalogue.lint_form import Finding
from shared.catalogue.matter import Matter, Step
from shared.catalogue.terms import Scalar, SilencePolicy, holds

MAX_PATHS = 20_000


def step_findings(matter: Matter, domains: Mapping[str, Domain]) -> Iterator[Finding]:
    """Everything that is wrong with the steps."""
    for number, step in enumerate(matter.steps):
        loc = ("steps", number)
        if step.department not in matter.departments:
            yield Finding(
                (*loc, "department"),
                f"the department '{step.department}' is not declared",
                near(step.department, matter.departments, "departments"),
            )
        if step.decides and step.silence_policy is not SilencePolicy.NONE:
            yield Finding(
                (*loc, "silence_policy"), "silence can never decide a case", "take silence_policy out here"
            )
        if step.limit is not None and not step.limit.surely_within(matter.promised_limit):
            yield Finding(
                (*loc, "limit"), "the step may take longer than the promise", "shorten it, in the same unit"
            )
        yield from condition_findings(step.condition, (*loc, "condition"), domains)
    yield from _parallel(matter.steps)
    yield from _paths(matter.steps, domains)


def _parallel(steps: tuple[Step, ...]) -> Iterator[Finding]:
    seen: set[str] = set()
    for name, run in groupby(enumerate(steps), key=lambda pair: pair[1].parallel):
        members = list(run)
        loc = ("steps", members[0][0], "parallel")
        if name is None:
            continue
        if name in seen or len(members) < 2:
            yield Finding(
                loc, f"the parallel group '{name}' is not two or more neighbouring steps", "put them together"
            )
        if any(step.decides for _, step in members):
            yield Finding(
                loc, "a deciding step cannot run side by side with others", "take it out of the group"
            )
        seen.add(name)


def _paths(steps: tuple[Step, ...], domains: Mapping[str, Domain]) -> Iterator[Finding]:
    read = sorted({name for step in steps for name in step.condition or {} if name in domains})
    values = [_values(name, steps, domains[name]) for name in read]
    size = 1
    for choices in values:
        size *= len(choices)
    if size > MAX_PATHS:
        yield Finding(
            ("steps",), "the steps depend on too many facts to be checked", "let fewer facts decide the way"
        )
        return
    for chosen in product(*values):
        facts = dict(zip(read, chosen, strict=True))
        path = [step for step in steps if holds(step.condition, facts)]
        deciding = [step for step in path if step.decides]
        when = f" when {', '.join(f'{name} is {value}' for name, value in facts.items())}" if facts else ""
        if len(deciding) != 1:
            said = ", ".join(step.code for step in deciding) or "none"
            yield Finding(
                ("steps",), f"not exactly one step decides{when}: {said}", "let one step decide on every way"
            )
            return
        if path[-1] is not deciding[0]:
            yield Finding(
                ("steps",), f"steps follow the deciding step{when}", "let the deciding step come last"
            )
            return


def _values(name: str, steps: tuple[Step, ...], domain: Domain) -> tuple[Scalar, ...]:
    if domain is not None:
        return domain
    named = {value for step in steps for value in (step.condition or {}).get(name, ())}
    # None stands for every value that no step names.
    return (*sorted(named, key=str), None)
