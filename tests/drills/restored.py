"""Each service in turn is brought back from an older copy while the others go on, then all of them at once:
no number is given out twice, every difference is named, nobody is told twice, and what was not lost comes to
its end. Real processes, a real broker and our SMS gateway. Run by `make drill`.
"""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any
from uuid import uuid4

import httpx
import pytest

from deploy.postgres import PostgresServer
from deploy.rabbitmq import RabbitNode
from deploy.services import SERVICES
from deploy.standins.launch import SmsStandin
from shared.settings import Settings
from tests.support.copies import SchemaCopy, bring_back, take_copy
from tests.support.installation import (
    ROOT,
    Delivery,
    Installation,
    delivery,
    make_installation,
    secrets_dir,
    template_settings,
    wait_for,
)
from tests.support.restoring import alarms, compare, let_them_ask, parked
from tests.support.system import System, start_system

__all__ = ["delivery", "secrets_dir", "template_settings"]

EACH = 5
_LONGEST_S = 180.0


class Drill:
    """An installation whose processes can be stopped and started, with everything that was ever answered."""

    def __init__(self, made: Installation, sms: SmsStandin) -> None:
        self.made = made
        self.sms = sms
        self.answered: list[str] = []
        self.system: System | None = None

    def start(self, *, ready: bool = True) -> System:
        """All processes; the citizen is the same each time."""
        let_them_ask(self.made)
        environment = self.sms.environment() | {"ONESTOP_LOG_LEVEL": "WARNING"}
        system = start_system(self.made, environment, before=self.system, asking=True)
        self.system = system
        if ready:
            wait_for(system.all_ready, "ready", 60.0, of=self.made)
        return system

    def stop(self) -> None:
        """In order; what this process knew of the databases is forgotten."""
        assert self.system is not None
        self.system.stop_within(40)
        self.system.client.close()
        self.made.keep_witnesses()

    def apply(self, count: int = EACH) -> list[str]:
        """Applications, all answered."""
        assert self.system is not None
        new = [self.system.apply_until_taken(str(uuid4())) for _ in range(count)]
        self.answered += new
        return new

    def wait_until_heard(self, numbers: Sequence[str]) -> None:
        """Each of these is under review or further, everywhere, and its notices are out."""
        wait_for(lambda: self._all_heard(numbers), f"{len(numbers)} cases heard", _LONGEST_S, of=self.made)

    def decide(self, number: str) -> None:
        """Every step of a case, by officers, and what follows from it."""
        self.made.decide(number)
        wait_for(
            lambda: self._is_closed(number) and self._all_heard([number]),
            "a decision",
            _LONGEST_S,
            of=self.made,
        )

    def marks_move(self, copies: Sequence[SchemaCopy]) -> None:
        """The witness has seen more than the copies hold."""
        for copy in copies:
            was = self.made.value(f"SELECT mark FROM {copy.place}.witness")
            mark = f"SELECT mark FROM {copy.schema}.witness"
            wait_for(lambda mark=mark, was=was: self.made.value(mark) > was, "a mark")  # type: ignore[misc]

    def mend(self, *victims: str) -> dict[str, dict[str, Any]]:
        """`onestop restored` for these services, while the others run."""
        options = [part for victim in victims for part in ("--service", victim)]
        done = subprocess.run(
            [sys.executable, "-m", "deploy.cli", "restored", "--json", *options],
            cwd=ROOT,
            env=self.made.environment(),
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return {one["service"]: one for one in json.loads(done.stdout)["restored"]}

    def unready(self) -> set[str]:
        """The services that some process says are not what their witness saw."""
        assert self.system is not None
        found = set()
        for port in self.system.health_ports:
            components = httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=5, trust_env=False).json()
            for name, component in components["components"].items():
                if component.get("error") == "database.restored":
                    found.add(name.partition(".")[0])
        return found

    def told_twice(self) -> list[tuple[str, str]]:
        """Case and template of each text message that the gateway took more than once, and of each message in
        an inbox that is there twice."""
        texts = Counter((taken.params["number"], taken.template) for taken in self.sms.taken())
        inbox = self.made.rows(
            "SELECT case_no, title FROM notify.inbox_messages GROUP BY 1, 2 HAVING count(*) > 1"
        )
        return [key for key, count in texts.items() if count > 1] + [tuple(row) for row in inbox]

    def _all_heard(self, numbers: Sequence[str]) -> bool:
        known = {
            row.number
            for row in self.made.rows(
                "SELECT number FROM approval.tasks AS t JOIN approval.cases AS c ON c.number = t.case_no"
            )
        }
        waiting = self.made.value(
            "SELECT count(*) FROM notify.deliveries WHERE state NOT IN ('sent', 'failed') "
            "AND case_no = ANY(:numbers)",
            numbers=list(numbers),
        )
        return set(numbers) <= known and waiting == 0 and all(map(self.made.has_heard_all, numbers))

    def _is_closed(self, number: str) -> bool:
        return bool(
            self.made.rows("SELECT 1 FROM intake.cases WHERE number = :n AND closed_at IS NOT NULL", n=number)
        )


@pytest.fixture
def drill(
    delivery: Delivery,
    postgres: PostgresServer,
    template_settings: Settings,
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> Iterator[Drill]:
    node: RabbitNode | None = request.getfixturevalue("rabbitmq") if delivery == "rabbitmq" else None
    folder = tmp_path_factory.mktemp("restored")
    sms = SmsStandin(folder / "sms")
    sms.start()
    try:
        with make_installation(postgres, template_settings, folder, node.url if node else None) as made:
            made.change("UPDATE onestop.subscriptions SET since = since - interval '1 day'")
            made.keep_witnesses()
            yield Drill(made, sms)
    finally:
        sms.stop()


def go_on_and_come_back(drill: Drill, *victims: str) -> tuple[list[str], list[str], dict[str, Any]]:
    """Cases before the copy, cases after it, and what `onestop restored` named."""
    drill.start()
    kept = drill.apply()
    drill.wait_until_heard(kept)
    copies = [take_copy(drill.made.admin, victim) for victim in victims]
    since = drill.apply()
    drill.wait_until_heard(since)
    drill.marks_move(copies)
    drill.stop()
    for copy in copies:
        bring_back(drill.made.admin, copy)
    system = drill.start(ready=False)
    wait_for(lambda: _answers(system) and drill.unready() == set(victims), "unready", 60.0, of=drill.made)
    if "intake" in victims:
        refused = system.apply(str(uuid4()))
        # A copy of intake may have forgotten who logged out: it says nothing of it, and nobody is let in.
        assert refused.status_code == 503
        assert refused.json()["code"] in ("database.restored", "auth.revocations-old")
        assert int(refused.headers["Retry-After"]) > 0
    found = drill.mend(*victims)
    wait_for(system.all_ready, "ready", 60.0, of=drill.made)
    return kept, since, found


def _answers(system: System) -> bool:
    return all(word != "ConnectError" for word in system.readiness().values())


def catch_up(drill: Drill, numbers: Sequence[str]) -> None:
    """Minutes pass as often as it takes until these cases are what everybody said they are."""

    def done() -> bool:
        if drill._all_heard(numbers):
            return True
        compare(drill.made)
        return False

    wait_for(done, "what was missed is heard", _LONGEST_S, of=drill.made)


def nothing_is_missing(drill: Drill) -> bool:
    """Everything that was said was heard, and nothing else, as those see it who compare."""
    compare(drill.made)
    return alarms(drill.made) == {}


def end_well(drill: Drill, going_on: Sequence[str], *, lost: Sequence[str] = ()) -> None:
    """New cases go through, each number was given once, nobody was told twice, nothing is parked."""
    new = drill.apply()
    catch_up(drill, [*going_on, *new])
    for number in (going_on[0], new[0]):
        drill.decide(number)
    assert [number for number, count in Counter(drill.answered).items() if count > 1] == []
    assert drill.told_twice() == []
    assert parked(drill.made) == []
    here = {row.number for row in drill.made.rows("SELECT number FROM intake.cases")}
    assert here == set(drill.answered) - set(lost)
    identifiers = drill.made.rows(
        "SELECT case_no FROM materials.certificates WHERE case_no IS NOT NULL GROUP BY 1 HAVING count(*) > 1"
    )
    assert identifiers == []
    assert drill.mend(*SERVICES).keys() == set(SERVICES), "once more does no harm"
    wait_for(lambda: nothing_is_missing(drill), "no alarm", _LONGEST_S, of=drill.made)
    drill.stop()


@pytest.mark.parametrize("victim", ["materials", "approval", "notify"])
def test_what_one_service_lost_it_hears_and_does_again(drill: Drill, victim: str) -> None:
    kept, since, found = go_on_and_come_back(drill, victim)

    assert {fact["case"] for fact in found[victim]["facts"]} == set(since), "every difference is named"
    assert found[victim]["on_the_way"] == 0
    catch_up(drill, [*kept, *since])
    end_well(drill, [*kept, *since])


def test_cases_that_intake_lost_are_named_and_their_numbers_never_used_again(drill: Drill) -> None:
    kept, since, found = go_on_and_come_back(drill, "intake")

    assert found["intake"]["cases"] == sorted(since)
    first, last = found["intake"]["serials"]["case_serial"]
    assert all(first <= int(number[12:18]) <= last for number in since)
    end_well(drill, kept, lost=since)


def test_a_whole_installation_has_only_its_witnesses(drill: Drill) -> None:
    kept, since, found = go_on_and_come_back(drill, *SERVICES)

    first, last = found["intake"]["serials"]["case_serial"]
    assert all(first <= int(number[12:18]) <= last for number in since)
    end_well(drill, kept, lost=since)
