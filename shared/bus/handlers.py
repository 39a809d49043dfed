"""How a worker class says what its service hears: one marked method per fact, or per kind of facts."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from shared.bus.inbox import Handler, Load
from shared.events.fact import Fact

_MARK = "_onestop_hears"
_Method = TypeVar("_Method", bound=Callable[..., None])


@dataclass(frozen=True, slots=True)
class _Hearing:
    facts: Callable[[], Iterable[type[Fact]]]
    load: Load
    lingers: bool


def hears(fact: type[Fact], *, load: Load, lingers: bool = False) -> Callable[[_Method], _Method]:
    """Mark a worker method as the command for one fact; `load` fetches and locks for a whole batch.

    The method is called as `method(unit, event, loaded)`. One that `lingers` may be handled a moment later:
    nobody waits for what it does, and facts of a case that are handled together cost little more than one.
    """
    return hears_all(lambda: (fact,), load=load, lingers=lingers)


def hears_all(
    facts: Callable[[], Iterable[type[Fact]]], *, load: Load, lingers: bool = False
) -> Callable[[_Method], _Method]:
    """Mark a worker method as the command for all facts of a kind, as `hears` does for one: those that there
    are when the worker starts."""

    def mark(method: _Method) -> _Method:
        setattr(method, _MARK, _Hearing(facts, load, lingers))
        return method

    return mark


def handlers_of(worker: type[Any]) -> dict[str, Handler]:
    """CloudEvents type -> handler. Raises TypeError when two methods hear the same fact."""
    instance = worker()
    found: dict[str, Handler] = {}
    for name in dir(worker):
        hearing = getattr(getattr(worker, name), _MARK, None)
        if hearing is None:
            continue
        for fact in hearing.facts():
            if fact.type in found:
                raise TypeError(f"{worker.__name__} hears {fact.type} twice")
            found[fact.type] = Handler(hearing.load, getattr(instance, name), hearing.lingers)
    return found


def urgent_types(worker: type[Any]) -> tuple[str, ...]:
    """The types of facts for which this worker is woken at once."""
    return tuple(sorted(type_ for type_, handler in handlers_of(worker).items() if not handler.lingers))


def speakers_of(worker: type[Any]) -> tuple[str, ...]:
    """The services whose facts this worker hears; it is bound to all facts of each, for the gate's sake."""
    return tuple(sorted({type_.split(".")[1] for type_ in handlers_of(worker)}))
