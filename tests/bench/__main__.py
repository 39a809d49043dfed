"""python -m tests.bench [--all] [--only PART] [--rounds R] [--cases N] [--latency-s S] [--json] [--tiny]"""

import argparse
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict

from tests.bench import (
    cost,
    crash,
    crowd,
    latency,
    memory,
    queue,
    report,
    scale,
    spike,
    submissions,
    throughput,
    whole,
)
from tests.bench.contenders import CONTENDERS
from tests.bench.seed import MANY_PEOPLE, TINY_PEOPLE, fill_people, fill_template
from tests.bench.servers import DELIVERIES, Servers, installation, machine, tell
from tests.support.output import log_to_stderr

WARM_UP = 100
WORKERS = (2, 4)
"""Of each service, on the same machine."""
HELD = ("throughput", "crash", "latency")
"""Parts in which cases are let go that were submitted beforehand."""
USUAL = (*HELD, "whole", "submissions", "crowd")
MORE = ("cost", "spike", "workers", "scale", "memory")
"""With `--all`, or when asked for."""
PARTS = (*USUAL, *MORE)
QUEUE = "queue"
"""Only when asked for: it fills a database of its own with two million tasks."""


def main(arguments: Sequence[str]) -> int:
    """Measure and tell; the exit code."""
    parser = _parser()
    chosen = parser.parse_args(arguments)
    log_to_stderr()
    # Else a SIGTERM would leave the scratch folder behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    parts = chosen.only or (PARTS if chosen.all else USUAL)
    if QUEUE in parts:
        if len(parts) > 1:
            parser.error("the queue is measured alone")
        return queue.main(["--json"] if chosen.json else [])
    found = report.Report()
    with installation() as servers:
        tell(machine(servers))
        if set(parts) & {*HELD, "workers", "scale"}:
            _held(servers, found, chosen, parts)
        _over_http(servers, found, chosen, parts)
    if "memory" in parts:
        found.add_part("memory_mb", memory.measure(memory.TINY if chosen.tiny else memory.Scale()))
    print(found.table(), file=sys.stderr if chosen.json else sys.stdout)
    if chosen.json:
        print(found.as_json())  # noqa: T201
    return 0


def _held(servers: Servers, found: report.Report, chosen: argparse.Namespace, parts: Sequence[str]) -> None:
    """What needs no door: cases let go at once, or submitted one by one inside a process."""
    size = scale.TINY if chosen.tiny else scale.Scale()
    fill_template(servers, max(chosen.cases + WARM_UP, size.held if "scale" in parts else 0))
    # First, while the servers have nothing else to tidy up.
    for delivery in DELIVERIES if "latency" in parts else ():
        found.latency[delivery] = latency.measure(servers, delivery, chosen.latency_s)
    for contender in CONTENDERS if "crash" in parts else ():
        found.survives[contender.name] = crash.survives(servers, contender)
    # Rounds are interleaved, so that a busy spell of the machine hits every contender.
    for _ in range(chosen.rounds if "throughput" in parts else 0):
        for contender in CONTENDERS:
            found.add(contender.name, throughput.measure(servers, contender, WARM_UP, chosen.cases))
    if "latency" in parts:
        full = found.medians(CONTENDERS[0].name) or asdict(_throughput(servers, chosen))
        found.add_part("half_load", latency.at_half(servers, full["cases_per_s"], chosen.latency_s))
    if "scale" in parts:
        found.add_part("scale", scale.measure(servers, size))
    for each in WORKERS if "workers" in parts else ():
        found.add_part(f"workers_{each}", _throughput(servers, chosen, each))


def _throughput(servers: Servers, chosen: argparse.Namespace, each: int = 1) -> throughput.Figures:
    """Our own, once."""
    return throughput.measure(servers, CONTENDERS[0], WARM_UP, chosen.cases, each)


def _over_http(
    servers: Servers, found: report.Report, chosen: argparse.Namespace, parts: Sequence[str]
) -> None:
    """What people meet: submissions through the web process."""
    tiny = chosen.tiny
    runs: dict[str, Callable[[], object]] = {
        "whole": lambda: whole.measure(servers, whole.TINY if tiny else whole.Scale()),
        "submissions": lambda: submissions.measure(
            servers, submissions.TINY if tiny else submissions.Scale()
        ),
        "crowd": lambda: crowd.measure(servers, crowd.TINY if tiny else crowd.Scale()),
    }
    once: dict[str, Callable[[], object]] = {
        "cost": lambda: cost.measure(servers, cost.TINY if tiny else cost.Scale()),
        "spike": lambda: spike.measure(servers, spike.TINY if tiny else spike.Scale()),
    }
    if not {*runs, *once} & set(parts):
        return
    fill_people(servers, TINY_PEOPLE if tiny else MANY_PEOPLE)
    for _ in range(chosen.rounds):
        for name in (name for name in runs if name in parts):
            found.add_part(name, runs[name]())
    for name in (name for name in once if name in parts):
        found.add_part(name, once[name]())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--cases", type=int, default=1500, help="cases that each contender must bring home")
    parser.add_argument(
        "--latency-s", type=int, default=20, help="seconds of submissions at 20 cases a second"
    )
    parser.add_argument(
        "--rounds", type=int, default=1, help="repeat all but latency and crash; medians are told"
    )
    parser.add_argument("--all", action="store_true", help="every part, also those that take long")
    parser.add_argument("--only", action="append", choices=(*PARTS, QUEUE), help="leave out the other parts")
    parser.add_argument("--json", action="store_true", help="figures as one JSON object on standard output")
    parser.add_argument("--tiny", action="store_true", help="only to see whether it runs")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
