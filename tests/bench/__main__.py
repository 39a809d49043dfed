"""python -m tests.bench [--cases N] [--json] [--latency-s S] [--rounds R] [--only PART]"""

import argparse
import signal
import sys
from collections.abc import Sequence

from tests.bench import crash, latency, queue, report, throughput
from tests.bench.contenders import CONTENDERS
from tests.bench.seed import fill_template
from tests.bench.servers import DELIVERIES, installation, machine, tell
from tests.support.output import log_to_stderr

WARM_UP = 100
PARTS = ("throughput", "crash", "latency")
QUEUE = "queue"
"""Only when asked for: it fills a database of its own with two million tasks."""


def main(arguments: Sequence[str]) -> int:
    """Measure and tell; the exit code."""
    parser = _parser()
    chosen = parser.parse_args(arguments)
    log_to_stderr()
    # Else a SIGTERM would leave the scratch folder behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    parts = chosen.only or PARTS
    if QUEUE in parts:
        if len(parts) > 1:
            parser.error("the queue is measured alone")
        return queue.main(["--json"] if chosen.json else [])
    found = report.Report()
    with installation() as servers:
        tell(machine(servers))
        fill_template(servers, chosen.cases + WARM_UP)
        # First, while the servers have nothing else to tidy up.
        for delivery in DELIVERIES if "latency" in parts else ():
            found.latency[delivery] = latency.measure(servers, delivery, chosen.latency_s)
        for contender in CONTENDERS if "crash" in parts else ():
            found.survives[contender.name] = crash.survives(servers, contender)
        # Rounds are interleaved, so that a busy spell of the machine hits every contender.
        for _ in range(chosen.rounds if "throughput" in parts else 0):
            for contender in CONTENDERS:
                found.add(contender.name, throughput.measure(servers, contender, WARM_UP, chosen.cases))
    print(found.table(), file=sys.stderr if chosen.json else sys.stdout)
    if chosen.json:
        print(found.as_json())  # noqa: T201
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--cases", type=int, default=1500, help="cases that each contender must bring home")
    parser.add_argument(
        "--latency-s", type=int, default=20, help="seconds of submissions at 20 cases a second"
    )
    parser.add_argument("--rounds", type=int, default=1, help="repeat the throughput part; medians are told")
    parser.add_argument("--only", action="append", choices=(*PARTS, QUEUE), help="leave out the other parts")
    parser.add_argument("--json", action="store_true", help="figures as one JSON object on standard output")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
