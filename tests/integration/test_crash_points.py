"""A walk along every crash point of the bus: a worker dies or fails there, another one takes over.

Whatever the point, the case must end as it does when nothing happens. A chain is one case: one life of the
victim per step, each ended at a later point, then an heir without a plan. Other services run undisturbed.
"""

import ast
import os
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import pytest

from deploy.processes import free_port, spawn
from deploy.services import SERVICES
from deploy.standins.launch import SmsStandin
from shared.bus.outbox import Relay
from tests.integration.bus.history import open_line, outcome_of
from tests.support.installation import (
    ROOT,
    Citizen,
    Delivery,
    Installation,
    Worker,
    db_installation,
    delivery,
    installation,
    secrets_dir,
    settle,
    template_settings,
    wait_for,
)

__all__ = ["db_installation", "delivery", "installation", "secrets_dir", "template_settings"]

pytestmark = pytest.mark.slow

Kind = Literal["kill", "raise"]
KINDS: tuple[Kind, ...] = ("kill", "raise")
# `make drill` lets every service be the victim in turn.
VICTIMS = SERVICES if os.environ.get("ONESTOP_WALK") == "all" else ("materials",)
MOMENT = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d\.\d+(\+00:00|Z)")
"""A reading of the clock. Those without fractions are legal ends of days, which must agree."""
PROVIDER = re.compile(r'"sent", \d+, \d+, ("\d+\^0"|null)')
"""How often the gateway was asked and called, and its own number of the message, which no ask tells."""
SMS_JOB = "job.notify.send.sms"


@dataclass(frozen=True, slots=True)
class Step:
    """One life of the victim: it meets `point` at the `nth` pass. A prelude only prepares: always a kill.

    A relay and a runner of jobs look as soon as they start: without a prelude that leaves them something,
    their points would be passed with nothing at stake.
    """

    point: str
    nth: int = 1
    prelude: bool = False

    def plan(self, kind: Kind) -> str:
        return f"{self.point}:{self.nth}:{'kill' if self.prelude else kind}"


Chain = tuple[Step, ...]

DATABASE: tuple[Chain, ...] = (
    (Step("inbox.batch.commit.before"),),
    (Step("inbox.batch.commit.after"),),
    (
        Step("inbox.claim.commit.before"),
        Step("inbox.claim.commit.after"),
        Step("inbox.alone.commit.before"),
    ),
    (Step("inbox.claim.commit.after", prelude=True), Step("inbox.alone.commit.after")),
    (
        Step("inbox.batch.commit.after", prelude=True),
        Step("outbox.sent.commit.before"),
        Step("outbox.sent.commit.after"),
    ),
)

ONE_PROCESS: Chain = (
    Step("inbox.claim.commit.after"),
    Step("inbox.batch.commit.before"),
    Step("inbox.alone.commit.before"),
    Step("inbox.batch.commit.after"),
    Step("outbox.sent.commit.after"),
)

# A claim looks for new facts first (always none here), then for one that must go alone: the second pass.
RABBITMQ: tuple[Chain, ...] = (
    (Step("inbox.batch.commit.before"),),
    (Step("inbox.batch.commit.after"),),
    (Step("consume.ack.before"),),
    (Step("consume.ack.after"),),
    (
        Step("inbox.batch.commit.before", prelude=True),
        Step("inbox.suspects.commit.before"),
        Step("inbox.suspects.commit.after"),
        Step("inbox.claim.commit.before", nth=2),
        Step("inbox.alone.commit.before"),
    ),
    (
        Step("inbox.batch.commit.before", prelude=True),
        Step("inbox.suspects.commit.after", prelude=True),
        Step("inbox.claim.commit.after", nth=2),
        Step("inbox.alone.commit.after"),
    ),
)

RELAY: Chain = (
    Step("outbox.hand_on.before"),
    Step("publish.before"),
    Step("publish.after"),
    Step("confirm.after"),
    Step("outbox.hand_on.after"),
    Step("outbox.sent.commit.before"),
    Step("outbox.sent.commit.after"),
)
"""Over RabbitMQ: walked with a fact that goes alone and with some that go together."""
TOGETHER = 3

JOBS: tuple[Chain, ...] = (
    (
        Step("jobs.claim.commit.before"),
        Step("jobs.claim.commit.after"),
        Step(f"{SMS_JOB}.ask.before"),
        Step(f"{SMS_JOB}.ask.after"),
    ),
    (Step(f"{SMS_JOB}.call.before"),),
    (Step(f"{SMS_JOB}.call.before", nth=3),),
    (Step(f"{SMS_JOB}.call.after", nth=3),),
    (Step(f"{SMS_JOB}.finish.after", nth=3), Step(f"{SMS_JOB}.result.commit.before")),
    (Step(f"{SMS_JOB}.result.commit.after"),),
)
"""Walked with jobs of some cases that are claimed together, called side by side and written together: a death
comes before and after the question for all, between the calls, between answers and their writing, and in the
middle of that."""

ISSUE_JOB = "job.materials.issue"
ISSUING: tuple[Chain, ...] = (
    (Step("jobs.claim.commit.before"), Step("jobs.claim.commit.after")),
    (Step(f"{ISSUE_JOB}.call.before"), Step(f"{ISSUE_JOB}.result.commit.before")),
    (Step(f"{ISSUE_JOB}.call.after"),),
    (Step(f"{ISSUE_JOB}.result.commit.after"),),
)
"""Of jobs that go into one question; the first look at a start finds the order."""

SURVIVED = (
    "inbox.batch.",
    "inbox.alone.",
    f"{SMS_JOB}.ask.after",
    f"{SMS_JOB}.call.after",
    f"{ISSUE_JOB}.call.after",
)
"""An exception here may be the fault of one fact or job, so the process goes on; elsewhere it is our own
mistake and ends the process with 1, so that it is started anew."""

# Passed by people's acts and at starts only, never by a case on its way.
ASIDE = {
    "consume.reject.*": "test_floods: what is not kept stays in the park queue",
    "inbox.park.commit.*": "test_unreadable: what cannot be read is parked",
    "inbox.give_back.commit.*": "test_claims: given back at the end, or taken over later",
    "inbox.read_again.commit.*": "test_unreadable: repeated every half minute",
    "inbox.renew.commit.*": "test_claims, test_timeouts: after an outage a holder goes on with its claim",
    "inbox.set_aside.commit.*": "test_timeouts: a fact that meets time-outs is kept for later",
    "inbox.split.commit.*": "test_timeouts, test_retry: facts of a message part ways",
    "inbox.undecodable.commit.*": "test_floods: a message that comes again is the same message",
    "public.sent.commit.*": "test_public_subscribers: a death before it publishes once more",
    "ready.commit.*": "a probe",
    "comparison.*.commit.*": "repeated every minute from where it stood; test_lost_facts",
    "form.*.commit.*": "test_session_ends: a form is kept for whoever logs in again, or it is not",
    "jobs.set_back.commit.*": "test_jobs: a job whose own code fails is set back",
    "keeping.commit.*": "the ring of days, repeated every ten minutes",
    "keeping.forget.commit.*": "a small bite, repeated until nothing is old; test_keeping",
    "parked.*.commit.*": "an act of people, who see whether it succeeded",
    "trouble.*.commit.*": "an act of people, who see whether it succeeded",
    "measuring.commit.*": "reads only",
    "keys.*.commit.*": "test_key_rotation walks them",
    "matters.read.commit.*": "reads only",
    "witness.*.commit.*": "test_restored: killed between database and file, and repeated every second",
}


@dataclass
class Walk:
    """One installation with undisturbed services, and one process that is made to fail: of one service, or
    of all."""

    installation: Installation
    who: Citizen
    victims: Sequence[str]
    environment: dict[str, str]
    expected: list[str]
    ends_as: str = "under_review"

    @property
    def victim(self) -> str:
        """The one service that fails."""
        [victim] = self.victims
        return victim

    def start(self, faults: str = "") -> Worker:
        """A life of the victim."""
        environment = self.environment | {"ONESTOP_FAULT_PLAN": faults}
        return run_worker(self.installation, environment, *self.victims)

    def is_complete(self, number: str) -> bool:
        """Nothing about any case is under way anywhere, and this one has come as far as the walk goes."""
        made = self.installation
        # Between two asks for a doubtful message lie minutes.
        for victim in self.victims:
            made.change(f"UPDATE {victim}.jobs SET due_at = now() WHERE state = 'due' AND due_at > now()")
        state = made.value("SELECT state FROM intake.cases WHERE number = :n", n=number)
        return state == self.ends_as and is_quiet(made) and made.has_heard_all(number)

    def state(self, number: str) -> list[str]:
        """All that every service has of the case."""
        return sorted(
            f"{service} {PROVIDER.sub('sent', MOMENT.sub('a moment', line))}"
            for service in SERVICES
            for line in outcome_of(self.installation, service, number, side_by_side=True)
            # Each ask reads the phone anew, and each reading is noted.
            if not line.startswith('["person_reads"')
        )

    def free_what_the_dead_held(self) -> None:
        """The victim is dead, so that its leases count for nothing."""
        for victim in self.victims:
            self.installation.make_due(victim)
            self.installation.change(
                f"UPDATE {victim}.jobs SET due_at = due_at - interval '1 day', "
                "lease_until = lease_until - interval '1 day' WHERE state IN ('due', 'claimed')"
            )

    def walk(self, chain: Chain, kind: Kind) -> None:
        """One case along a chain; it must end as it does when nothing happens."""
        number = self.installation.submit(self.who).number
        if self.victim == "intake":
            chain = self.bring_before_intake(number, chain)
        else:
            wait_for(lambda: self.has_left("intake", number), f"{number} before the door of {self.victim}")
        self.live_through(chain, kind, number)
        check_once(self.installation, number)

    def walk_together(self, chain: Chain, kind: Kind) -> None:
        """Some cases along the victim's relay, which finds a fact of each waiting."""
        numbers = [self.installation.submit(self.who).number for _ in range(TOGETHER)]
        if self.victim != "intake":
            self.let_victim_say(numbers)
        self.live_through(chain, kind, *numbers)
        for number in numbers:
            check_once(self.installation, number)

    def walk_jobs(self, chain: Chain, kind: Kind) -> None:
        """Some cases along the victim's jobs, which lie there before anybody runs them."""
        numbers = [self.installation.submit(self.who).number for _ in range(TOGETHER)]
        inbox = self.installation.inbox(self.victim)

        def left() -> int:
            settle(self.installation, self.victim, inbox)
            due = f"SELECT count(*) FROM {self.victim}.jobs WHERE state = 'due'"
            return int(self.installation.value(due))

        told = f"two notices about each of {numbers} are to be sent"
        wait_for(lambda: left() == 2 * TOGETHER, told, of=self.installation)
        self.live_through(chain, kind, *numbers)
        for number in numbers:
            check_once(self.installation, number)

    def let_victim_say(self, numbers: Sequence[str]) -> None:
        """What comes to the victim is handled in this process, which hands on nothing."""
        unsent = f"SELECT count(DISTINCT case_no) FROM {self.victim}.outbox WHERE sent_at IS NULL"
        with open_line(self.installation, self.victim, self.installation.inbox(self.victim)):
            wait_for(
                lambda: self.installation.value(unsent) == len(numbers),
                f"{self.victim} has said something about each of {numbers}",
                of=self.installation,
            )

    def live_through(self, chain: Chain, kind: Kind, *numbers: str) -> None:
        """One life a step, then an heir; the cases end as one did in the clean run."""
        for n, step in enumerate(chain):
            if self.live(step, kind, numbers):
                assert n == len(chain) - 1, f"{step} did not end its process, so the rest was not walked"
                break
        else:
            heir = self.start()
            where = f"{numbers} after {chain}"
            wait_for(lambda: all(map(self.is_complete, numbers)), where, of=self.installation)
            stop(heir)
        for number in numbers:
            found = self.state(number)
            more, less = Counter(found) - Counter(self.expected), Counter(self.expected) - Counter(found)
            assert (dict(more), dict(less)) == ({}, {}), chain

    def live(self, step: Step, kind: Kind, numbers: Sequence[str]) -> bool:
        """One life of the victim; True when it survived the step and completed the cases."""
        worker = self.start(step.plan(kind))
        killed = kind == "kill" or step.prelude
        if not killed and step.point.startswith(SURVIVED):
            where = f"{numbers}, which survived {step}"
            wait_for(lambda: all(map(self.is_complete, numbers)), where, of=self.installation)
            stop(worker)
            return True
        wait_for(
            lambda: worker.process.poll() is not None, f"the end of {step} ({kind})", of=self.installation
        )
        assert worker.process.returncode == (-9 if killed else 1), f"{step}\n{worker.output()[-3000:]}"
        self.free_what_the_dead_held()
        return False

    def bring_before_intake(self, number: str, chain: Chain) -> Chain:
        """Only intake itself hands on what it said: the test does so for it, unless the chain is about that,
        and then it needs no prelude. Then all that the others say lies before its door."""
        if any(step.point.startswith("outbox.") for step in chain):
            return tuple(step for step in chain if not step.prelude)
        self.intake_relay.run_once()
        others = [service for service in SERVICES if service != "intake"]
        wait_for(
            lambda: self.is_told(number) and all(self.has_left(service, number) for service in others),
            f"{number} before the door of intake",
            of=self.installation,
        )
        return chain

    @cached_property
    def intake_relay(self) -> Relay:
        return self.installation.relay("intake")

    def is_told(self, number: str) -> bool:
        """The last that happens before an officer acts."""
        told = "SELECT count(*) FROM notify.inbox_messages WHERE case_no = :n"
        return bool(self.installation.value(told, n=number) == 2)

    def has_left(self, service: str, number: str) -> bool:
        """What a service said has left its outbox."""
        unsent = f"SELECT count(*) FROM {service}.outbox WHERE case_no = :n AND sent_at IS NULL"
        return bool(self.installation.value(unsent, n=number) == 0)


def run_worker(made: Installation, environment: dict[str, str], *services: str) -> Worker:
    """A worker with an environment of its own; the installation ends it."""
    log = made.scratch / f"walk-{len(made.workers)}-{'-'.join(services)}.log"
    with log.open("wb") as output:
        process = spawn(
            [sys.executable, "-m", "tests.support.worker_main", "none", *services],
            output=output.fileno(),
            environment=environment,
            cwd=ROOT,
        )
    made.workers.append(Worker(process, log))
    return made.workers[-1]


def stop(worker: Worker) -> None:
    """SIGTERM, and an orderly end. It may have had nothing left to do, and be starting still."""
    wait_for(lambda: "worker_started" in worker.output(), f"the start of {worker.log}")
    assert worker.terminate() == 0, worker.output()[-3000:]


def is_quiet(made: Installation) -> bool:
    """Everything said is handed on and handled, and no job is left."""
    left = " + ".join(
        f"(SELECT count(*) FROM {s}.outbox WHERE sent_at IS NULL)"
        f" + (SELECT count(*) FROM {s}.inbox) + (SELECT count(*) FROM {s}.messages)"
        f" + (SELECT count(*) FROM {s}.jobs WHERE state <> 'done')"
        for s in SERVICES
    )
    return bool(made.value(f"SELECT {left}") == 0)


def check_once(made: Installation, number: str) -> None:
    """One task, one match, two notices in the app, nothing parked, nothing blamed on the case."""

    def count(statement: str) -> Any:
        return made.value(statement, n=number)

    assert count("SELECT count(*) FROM approval.tasks WHERE case_no = :n") == 1
    matched = "SELECT count(*) FROM materials.outbox WHERE case_no = :n AND event->>'type' LIKE '%matched%'"
    assert count(matched) == 1
    assert count("SELECT count(*) FROM notify.inbox_messages WHERE case_no = :n") == 2
    assert made.has_heard_all(number)
    for service in SERVICES:
        assert made.value(f"SELECT count(*) FROM {service}.inbox WHERE state = 'parked'") == 0
        assert made.value(f"SELECT count(*) FROM {service}.undecodable") == 0


def begin(made: Installation, extra: dict[str, str], *victims: str) -> Walk:
    """The undisturbed services, and what a clean run comes to."""
    environment = made.environment() | extra
    undisturbed = [service for service in SERVICES if service not in victims]
    if undisturbed:
        run_worker(made, made.environment(), *undisturbed)
    walk = Walk(made, made.citizen(), victims, environment, [])
    first = made.submit(walk.who).number
    worker = walk.start()
    wait_for(lambda: walk.is_complete(first), f"a clean run: {first}", of=made)
    stop(worker)
    walk.expected = walk.state(first)
    check_once(made, first)
    return walk


@pytest.mark.parametrize("victim", VICTIMS)
@pytest.mark.parametrize("kind", KINDS)
def test_consumer_and_relay(installation: Installation, delivery: Delivery, kind: Kind, victim: str) -> None:
    walk = begin(installation, {}, victim)
    if delivery == "database":
        for chain in DATABASE:
            walk.walk(chain, kind)
        return
    for chain in (*RABBITMQ, RELAY):
        walk.walk(chain, kind)
    walk.walk_together(RELAY, kind)


def test_one_process_of_all_services(db_installation: Installation) -> None:
    """A laptop's only worker: whoever fails, all four die with what they hold. A new case comes each time."""
    walk = begin(db_installation, {}, *SERVICES)
    numbers: list[str] = []
    for step in ONE_PROCESS:
        numbers.append(db_installation.submit(walk.who).number)
        assert not walk.live(step, "kill", numbers)
    walk.live_through((), "kill", *numbers)
    for number in numbers:
        check_once(db_installation, number)


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[SmsStandin]:
    standin = SmsStandin(tmp_path)
    standin.start()
    yield standin
    standin.kill()


def web_of(made: Installation, port: int, service: str) -> Worker:
    """The doors of a service: notify asks intake for the phone, materials approval for the decision."""
    log = made.scratch / "web.log"
    with log.open("wb") as output:
        process = spawn(
            [sys.executable, "-m", "deploy.cli", "run", "web", "--service", service],
            output=output.fileno(),
            environment=made.environment()
            | {"ONESTOP_WEB__PORT": "0", "ONESTOP_WEB__INTERNAL_PORT": str(port)},
            cwd=ROOT,
        )
    made.workers.append(Worker(process, log))
    return made.workers[-1]


@pytest.mark.parametrize("kind", KINDS)
def test_jobs(db_installation: Installation, gateway: SmsStandin, kind: Kind) -> None:
    """Inside the database only: jobs know nothing of deliveries."""
    db_installation.set_up_channels("sms")
    port = free_port()
    web_of(db_installation, port, "intake")
    extra = {"ONESTOP_PEERS": f'{{"intake":"http://127.0.0.1:{port}"}}', **gateway.environment()}
    walk = begin(db_installation, extra, "notify")
    for chain in JOBS:
        walk.walk_jobs(chain, kind)
    taken = [line.out_id for line in gateway.taken()]
    assert len(taken) == len(set(taken)) == 2 * (TOGETHER * len(JOBS) + 1)


@pytest.mark.parametrize("kind", KINDS)
def test_issuing(db_installation: Installation, kind: Kind) -> None:
    """Jobs that are called for together; materials asks approval whether the case stands so."""
    made, port = db_installation, free_port()
    web_of(made, port, "approval")
    walk = begin(made, {"ONESTOP_PEERS": f'{{"approval":"http://127.0.0.1:{port}"}}'}, "materials")
    numbers = [made.submit(walk.who).number for _ in (None, *ISSUING)]
    worker = walk.start()
    wait_for(lambda: all(map(walk.is_complete, numbers)), "all before their decision", of=made)
    stop(worker)
    walk.ends_as = "approved"

    clean, *others = numbers
    order_certificate(walk, clean)
    worker = walk.start()
    wait_for(lambda: walk.is_complete(clean), f"a clean run: {clean}", of=made)
    stop(worker)
    walk.expected = walk.state(clean)
    for number, chain in zip(others, ISSUING, strict=True):
        order_certificate(walk, number)
        walk.live_through(chain, kind, number)
        issued = "SELECT count(*) FROM materials.certificates WHERE case_no = :n"
        assert made.value(issued, n=number) == 1
        assert made.value("SELECT count(*) FROM notify.inbox_messages WHERE case_no = :n", n=number) == 4


def order_certificate(walk: Walk, number: str) -> None:
    """The case is approved, and materials has heard of it: the job lies there and nobody runs it."""
    made = walk.installation
    made.decide(number)
    wait_for(lambda: walk.has_left("approval", number), f"the decision on {number}", of=made)
    settle(made, "materials", made.inbox("materials"))
    assert made.value("SELECT state FROM materials.jobs WHERE case_no = :n", n=number) == "due"


def points_of_shared() -> set[str]:
    """Every name in shared/ that can reach fault_point, `*` for what is put in at run time."""
    found: set[str] = set()
    labels: set[str] = set()
    for path in sorted((ROOT / "shared").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = node.func.id if isinstance(node.func, ast.Name) else None
            if name == "fault_point":
                found.add(_pattern(node.args[0]))
            elif name in ("unit_of", "transaction", "call") and not isinstance(node.args[1], ast.Name):
                labels.add(_pattern(node.args[1]))
    # These two labels travel through a parameter.
    labels |= {"inbox.batch", "inbox.alone"}
    commits = {point for point in found if point.startswith("*.commit.")}
    assert commits == {"*.commit.before", "*.commit.after"}
    return (found - commits) | {f"{label}.commit.{when}" for label in labels for when in ("before", "after")}


def _pattern(node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    assert isinstance(node, ast.JoinedStr), ast.dump(node)
    return "".join(str(part.value) if isinstance(part, ast.Constant) else "*" for part in node.values)


def test_every_point_of_shared_is_walked() -> None:
    chains = (*DATABASE, *RABBITMQ, RELAY, *JOBS, *ISSUING)
    walked = {step.point for chain in chains for step in chain if not step.prelude}
    points = points_of_shared()
    unwalked = {point for point in points if not any(fnmatch(name, point) for name in walked)}
    missed = {point for point in unwalked if not any(fnmatch(point, aside) for aside in ASIDE)}
    assert missed == set(), "crash points that no chain walks"
    unknown = {name for name in walked if not any(fnmatch(name, point) for point in points)}
    assert unknown == set(), "walked points that shared/ does not have"
