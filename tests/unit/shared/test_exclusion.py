"""What is handled alone has its process to itself; everything else goes on side by side."""

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

from deploy.processes import wait_until
from shared.bus.exclusion import Exclusion


@contextmanager
def trying(manager: AbstractContextManager[None]) -> Iterator[threading.Event]:
    """Somebody who enters, and leaves when the block ends; the event says that they are in."""
    inside, leave = threading.Event(), threading.Event()

    def run() -> None:
        with manager:
            inside.set()
            leave.wait(10)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield inside
    finally:
        leave.set()
        # Whoever still waits for others comes in and goes once these have left.
        thread.join(0.5)


def is_waiting(exclusion: Exclusion, count: int = 1) -> bool:
    return wait_until(lambda: exclusion.waiting == count, 10)


def test_work_goes_on_side_by_side() -> None:
    exclusion = Exclusion()
    with ExitStack() as stack:
        for _ in range(3):
            assert stack.enter_context(trying(exclusion.together())).wait(10)


def test_whoever_is_alone_waits_for_all_and_all_wait_for_it() -> None:
    exclusion = Exclusion()
    with ExitStack() as rest:
        with trying(exclusion.together()) as first:
            assert first.wait(10)
            alone = rest.enter_context(trying(exclusion.alone()))
            assert is_waiting(exclusion)
            assert not alone.is_set()
            # It is not starved by those who come later.
            later = rest.enter_context(trying(exclusion.together()))
        assert alone.wait(10)
        assert not later.is_set()
        another = rest.enter_context(trying(exclusion.alone()))
        assert is_waiting(exclusion)
        assert not another.is_set()
    assert later.wait(10)
    assert another.wait(10)


def test_other_work_stands_back_only_where_services_share_the_process() -> None:
    for whole in (False, True):
        exclusion = Exclusion(whole=whole)
        with trying(exclusion.alone()) as alone:
            assert alone.wait(10)
            with trying(exclusion.aside()) as aside:
                assert aside.wait(0.2 if whole else 10) is not whole
        with trying(exclusion.aside()) as aside:
            assert aside.wait(10)


def test_a_failure_lets_the_others_in() -> None:
    exclusion = Exclusion()
    for manager in (exclusion.alone, exclusion.together):
        try:
            with manager():
                raise ZeroDivisionError
        except ZeroDivisionError:
            pass
        with trying(exclusion.alone()) as alone:
            assert alone.wait(10)
