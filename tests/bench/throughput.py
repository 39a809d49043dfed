"""Throughput: all cases at once, until the last is under review with its two notices in its timeline."""

import time
from dataclasses import dataclass

from deploy.processes import wait_until
from deploy.services import SERVICES
from tests.bench.contenders import Contender
from tests.bench.seed import held_cases
from tests.bench.servers import Place, Servers, cpu_seconds, tell

LIMIT_S = 300.0


@dataclass(frozen=True, slots=True)
class Figures:
    """What one run of one contender cost."""

    cases_per_s: float
    cpu_ms_per_case: float
    deliveries_per_case: float
    statements_per_case: float
    commits_per_case: float


def measure(
    servers: Servers, contender: Contender, warm_up: int, cases: int, workers_each: int = 1
) -> Figures:
    """Run `cases` through the ready workers of four services, after a warm-up that the clock does not see."""
    tell(f"throughput: {contender.name}, {cases} cases, {workers_each} workers of each service")
    with servers.place(contender.name) as place:
        contender.prepare(place)
        commits, delivered = place.commits(), place.deliveries()
        workers = [contender.start_worker(place, service) for service in SERVICES * workers_each]
        place.await_ready([worker.ready for worker in workers])
        contender.release(place, held_cases(place, 0, warm_up))()
        await_home(place, warm_up)
        go = contender.release(place, held_cases(place, 0, cases))
        # All that is left of the warm-up: acknowledgements on their way.
        time.sleep(0.5)
        place.forget_statements()
        processes = [worker.process for worker in workers]
        cpu, began = cpu_seconds(processes), time.time()
        go()
        await_home(place, warm_up + cases)
        elapsed, cpu = last_home(place) - began, cpu_seconds(processes) - cpu
        statements, wrong = place.statements(), misplaced(place)
        place.stop()
        all_cases = warm_up + cases
        figures = Figures(
            cases_per_s=cases / elapsed,
            cpu_ms_per_case=1000 * cpu / cases,
            deliveries_per_case=(place.deliveries() - delivered) / all_cases,
            statements_per_case=statements / cases,
            # Counted over the warm-up too: a server process tells of its commits up to a second late.
            commits_per_case=(place.commits() - commits) / all_cases,
        )
    tell(f"  {figures.cases_per_s:.0f} cases/s, {figures.cpu_ms_per_case:.2f} ms CPU a case")
    if wrong:
        tell(f"  {wrong} of {all_cases} cases ended in a wrong state: facts of a case overtook one another")
    return figures


def await_home(place: Place, cases: int) -> None:
    """Wait until that many cases are through."""
    if not wait_until(lambda: home(place) >= cases, LIMIT_S, every_s=0.2):
        raise RuntimeError(f"{place.database}: {home(place)} of {cases} cases after {LIMIT_S:.0f} s")


def home(place: Place) -> int:
    """How many cases are through: routed to review, told of the submission, told of the acceptance.

    Each of the three stands in a case's timeline once, so the least of the three counts is enough, and cheap
    to ask. The state is not asked: a peer that works on several messages of a case at once may overwrite
    `under_review` with `accepted`, and would then never be through; `misplaced` counts those.
    """
    found = place.ask(
        "SELECT count(*) FILTER (WHERE fact = 'case-routed'), "
        "count(*) FILTER (WHERE details->>'template' = 'case-submitted'), "
        "count(*) FILTER (WHERE details->>'template' = 'case-accepted') "
        "FROM intake.timeline WHERE fact IN ('case-routed', 'notice-sent')"
    )
    return int(min(found))


def misplaced(place: Place) -> int:
    """Cases that are through and whose state says otherwise."""
    found = place.ask(
        "SELECT count(*) FROM intake.cases c JOIN intake.timeline t ON t.case_no = c.number "
        "WHERE t.fact = 'case-routed' AND c.state <> 'under_review'"
    )
    return int(found[0])


def last_home(place: Place) -> float:
    """When the last of them came through: its commit, in seconds since the epoch."""
    found = place.ask(
        "SELECT extract(epoch FROM max(pg_xact_commit_timestamp(xmin))) FROM "
        "(SELECT xmin FROM intake.timeline UNION ALL SELECT xmin FROM intake.cases) AS rows"
    )
    return float(found[0])
