"""A spike: lifecycles a second that rise, fall and rise again, as in the load test that DIGIT published,
times ten; how many submissions are refused, and how long the hall needs until nobody waits any more."""

import time
from dataclasses import dataclass

from tests.bench.generator import Sent
from tests.bench.hall import Hall, hall
from tests.bench.rates import percentile
from tests.bench.seed import MANY_PEOPLE, TINY_PEOPLE
from tests.bench.servers import Servers, tell

PATTERN = (1, 15, 1, 25, 2, 35, 10)
TIMES = 10
_WARM_UP = 20.0, 3.0
_FEW = 20


@dataclass(frozen=True, slots=True)
class Spike:
    """`recover_s`: after the last submission, until no more cases are on their way than in a quiet hall."""

    submissions: int
    errors: int
    p99_ms: float
    recover_s: float


@dataclass(frozen=True, slots=True)
class Scale:
    """How long each step lasts, and by how much the pattern is raised."""

    people: int = MANY_PEOPLE
    times: float = TIMES
    step_s: float = 10.0


TINY = Scale(people=TINY_PEOPLE, times=0.1, step_s=1.0)
"""Does it run at all?"""


def measure(servers: Servers, scale: Scale) -> Spike:
    """In a hall of its own."""
    tell(f"spike: {'-'.join(f'{scale.times * step:g}' for step in PATTERN)} a second")
    with hall(servers, "spike", people=scale.people) as opened:
        opened.send(_WARM_UP[1], rate=_WARM_UP[0])
        opened.drain()
        return find(opened, scale)


def find(opened: Hall, scale: Scale) -> Spike:
    """Step after step; each waits for its last answer."""
    sent: list[Sent] = []
    for step in PATTERN:
        sent += opened.send(scale.step_s, rate=scale.times * step)
    ended = time.monotonic()
    opened.drain(leaving=_FEW)
    found = Spike(
        submissions=len(sent),
        errors=sum(not one.is_good for one in sent),
        p99_ms=percentile([one.ms for one in sent], 0.99),
        recover_s=time.monotonic() - ended,
    )
    tell(f"  {found.errors} of {found.submissions} refused, recovered after {found.recover_s:.0f} s")
    return found
