"""A crowd: many clients at once, each sending its next application when it has its answer, while the workers
bring the cases through; and how much more comes through than with a few."""

from collections.abc import Sequence
from dataclasses import dataclass

from tests.bench.generator import Sent
from tests.bench.hall import Hall, hall
from tests.bench.rates import percentile
from tests.bench.seed import MANY_PEOPLE, TINY_PEOPLE
from tests.bench.servers import Servers, tell

CLIENTS, FEW = 256, 8
_WARM_UP = 20.0, 3.0


@dataclass(frozen=True, slots=True)
class Crowd:
    """What `clients` met in the whole time; `per_s` answered submissions, and those of a few clients."""

    clients: int
    errors: int
    p99_ms: float
    per_s: float
    per_s_of_few: float


@dataclass(frozen=True, slots=True)
class Scale:
    """How many, for how long."""

    people: int = MANY_PEOPLE
    clients: int = CLIENTS
    few: int = FEW
    seconds: float = 30.0


TINY = Scale(people=TINY_PEOPLE, clients=8, few=2, seconds=2.0)
"""Does it run at all?"""


def measure(servers: Servers, scale: Scale) -> Crowd:
    """In a hall of its own."""
    tell(f"crowd: {scale.few} and {scale.clients} clients for {scale.seconds:.0f} s each")
    with hall(servers, "crowd", people=scale.people) as opened:
        opened.send(_WARM_UP[1], rate=_WARM_UP[0])
        return find(opened, scale)


def find(opened: Hall, scale: Scale) -> Crowd:
    """A few first, then the crowd."""
    few = opened.send(scale.seconds, clients=scale.few)
    opened.drain()
    many = opened.send(scale.seconds, clients=scale.clients)
    found = crowd_of(scale.clients, few, many, scale.seconds)
    tell(
        f"  {found.errors} errors, p99 {found.p99_ms:.0f} ms, {found.per_s:.0f}/s; "
        f"with {scale.few} clients {found.per_s_of_few:.0f}/s"
    )
    return found


def crowd_of(clients: int, few: Sequence[Sent], many: Sequence[Sent], seconds: float) -> Crowd:
    """What is told of two runs of so many seconds each, beyond which answers do not count as answered."""
    return Crowd(
        clients=clients,
        errors=sum(not one.is_good for one in many),
        p99_ms=percentile([one.ms for one in many], 0.99),
        per_s=_per_s(many, seconds),
        per_s_of_few=_per_s(few, seconds),
    )


def _per_s(sent: Sequence[Sent], seconds: float) -> float:
    if not sent:
        return 0.0
    began = min(one.due for one in sent)
    return sum(one.is_good and one.due + one.ms / 1000 <= began + seconds for one in sent) / seconds
