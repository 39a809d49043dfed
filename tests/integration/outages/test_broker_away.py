"""The broker is away for some seconds while people go on: nobody waits, nothing is lost."""

from uuid import uuid4

from deploy.processes import wait_until
from deploy.rabbitmq import RabbitNode
from tests.integration.outages.walk import FULL_LENGTH
from tests.support.system import System

AWAY_S = 60.0 if FULL_LENGTH else 8.0
ANSWER_S = 1.0


def test_people_do_not_notice_that_the_broker_is_away(brokered: System, node: RabbitNode) -> None:
    system, pids = brokered, brokered.pids()

    def one_more() -> bool:
        answer = system.apply(str(uuid4()))
        assert answer.status_code == 201, answer.text
        return False

    one_more()
    node.kill()
    system.slowest_s = 0.0
    wait_until(one_more, AWAY_S, every_s=0.2)
    assert len(system.numbers) > AWAY_S, "too few applications to say anything"
    assert system.slowest_s < ANSWER_S
    node.start()

    system.wait_until_complete()
    assert system.pids() == pids, "a process died of the outage"
