"""The nameko side of a worker process: the consumer, the relay, the jobs and the timer of one service.

nameko hosts and stops; what is done stands in plain Python beside it, so that another host is one file.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from enum import Enum, auto
from functools import partial
from typing import Any, ClassVar

import structlog
from nameko.extensions import DependencyProvider, Entrypoint
from nameko.timer import timer
from sqlalchemy import Connection

from shared.bus import retention, sealed
from shared.bus.broker import TRANSPORT_ERRORS, BrokerPublisher
from shared.bus.comparison import Comparison, nothing_delivered
from shared.bus.consumer import QueueConsumer
from shared.bus.context import ServiceContext
from shared.bus.handlers import handlers_of
from shared.bus.hints import Listener, inbox_hint, jobs_hint, linger_hint, outbox_hint
from shared.bus.housekeeping import forget, keep_tables
from shared.bus.inbox import Inbox
from shared.bus.jobs import AnyHandler, JobRunner
from shared.bus.measuring import Measure, measure
from shared.bus.outbox import BUSY, BrokerRelay, DatabaseRelay, PublicRelay, Relay
from shared.bus.outbox import CLAIM as OUTBOX_CLAIM
from shared.bus.readable import read_again, speakers_in
from shared.bus.rotation import go_on
from shared.bus.topology import PUBLIC_EXCHANGE, broker_url
from shared.bus.trouble import Source
from shared.bus.trouble_sources import SOURCES
from shared.db.outages import DatabaseAway
from shared.describe import kind_of
from shared.privacy.sealed import SealedTable
from shared.retention import Rule

_log = structlog.get_logger()

POLL_S = 1.0
"""How long a lost hint can cost."""

_PUBLIC_POLL_S = 5.0
"""The same for foreign subscribers; mostly there are none."""

_BUSY_S = 0.005
_COMPARE_S = 60.0
_TROUBLE_S = (0.1, 0.25, 0.5, 1.0)


class ContextProvider(DependencyProvider):  # type: ignore[misc]
    """Gives a worker method the context of its service."""

    def get_dependency(self, worker_ctx: Any) -> ServiceContext:
        return _context_of(self)


class Deliveries(Entrypoint):  # type: ignore[misc]
    """Runs everything that brings work to a service, and hands each batch to a nameko worker."""

    def setup(self) -> None:
        self.context = context = _context_of(self)
        settings = context.settings
        self.stopping = threading.Event()
        self.linger_s: float = self.container.service_cls.linger_s
        self.inbox = Inbox(context, handlers_of(self.container.service_cls))
        url = broker_url(settings, context.service)
        self.public_wake = threading.Event()
        self.relay: Relay = DatabaseRelay(context.engine, context.service)
        self.public_relay: PublicRelay | None = None
        self.consumer: QueueConsumer | None = None
        if url:
            self.relay = BrokerRelay(
                context.engine, context.service, BrokerPublisher(url), self.public_wake.set
            )
            public = BrokerPublisher(url, PUBLIC_EXCHANGE, mandatory=False)
            self.public_relay = PublicRelay(context.engine, context.service, public)
            self.consumer = QueueConsumer(
                url,
                context.service,
                self.inbox,
                batch=settings.worker.batch,
                prefetch=settings.worker.prefetch,
                linger_s=self.linger_s,
                run_batch=self._as_worker,
            )
        self.runners = [
            JobRunner(context, {kind: handler})
            for kind, handler in sorted(self.container.service_cls.jobs(context).items())
        ]
        self.outbox_wake = threading.Event()
        self.inbox_wake = threading.Event()
        self.inbox_wakes_soon = False
        self.job_wakes = [threading.Event() for _ in self.runners]
        self.draining: list[Any] = []

    def start(self) -> None:
        context = self.context
        channels = {
            outbox_hint(context.service): self.outbox_wake.set,
            inbox_hint(context.service): self.inbox_wake.set,
            linger_hint(context.service): self._wake_inbox_soon,
            jobs_hint(context.service): self._wake_jobs,
        }
        for channel, wake in channels.items():
            context.hints.wake_locally(channel, wake)
        self.listener = Listener(context.hints.engine, channels)
        self.ending = [self._spawn(self.listener.run)]
        self.relaying = self._spawn(lambda: self._loop("relay", self.outbox_wake, self._relay))
        self.draining.append(self._spawn(lambda: self._loop("inbox", self.inbox_wake, self._work_inbox)))
        for runner, job_wake in zip(self.runners, self.job_wakes, strict=True):
            step = partial(self._run_jobs, runner, job_wake)
            self.draining.append(self._spawn(partial(self._loop, "jobs", job_wake, step)))
        self.ending.append(self._spawn(self._compare))
        if self.public_relay is not None:
            step = partial(self._publish, self.public_relay)
            loop = partial(self._loop, "public", self.public_wake, step, _PUBLIC_POLL_S)
            self.ending.append(self._spawn(loop))
        if context.guard is not None:
            self.ending.append(self._spawn(partial(context.guard.watch, self.stopping)))
        if self.consumer is not None:
            self.ending.append(self._spawn(self.consumer.run_reader))
            self.draining.append(self._spawn(self.consumer.run_batches))

    def stop(self) -> None:
        """Take nothing new, finish what is in flight, hand on what was said; then the process may end."""
        drain_s = self.context.settings.worker.drain_s
        if self.consumer is not None:
            self.consumer.stop(drain_s)
        self.stopping.set()
        self.outbox_wake.set()
        self.inbox_wake.set()
        self.public_wake.set()
        self._wake_jobs()
        for thread in self.draining:
            thread.wait()
        self.listener.stop()
        for thread in (*self.ending, self.relaying):
            thread.wait()
        self._flush()
        self.relay.close()
        if self.public_relay is not None:
            self.public_relay.close()
        self._give_back()
        if self.context.guard is not None:
            self.context.guard.finish()

    def ready(self) -> bool:
        """The service can take facts."""
        return not self.stopping.is_set() and (self.consumer is None or self.consumer.connected)

    def _spawn(self, run: Callable[[], Any]) -> Any:
        return self.container.spawn_managed_thread(run, identifier="onestop")

    def _wake_jobs(self) -> None:
        for wake in self.job_wakes:
            wake.set()

    def _wake_inbox_soon(self) -> None:
        """For facts that nobody waits for: they linger, to be batched with others."""
        if not self.inbox_wakes_soon:
            self.inbox_wakes_soon = True
            threading.Timer(self.linger_s, self._wake_inbox).start()

    def _wake_inbox(self) -> None:
        self.inbox_wakes_soon = False
        self.inbox_wake.set()

    def _flush(self) -> None:
        """Hand on what the last batches said; what the broker does not take now, the next relay hands on."""
        try:
            while self.relay.run_once() > 0:
                pass
        except (DatabaseAway, *TRANSPORT_ERRORS) as error:
            _log.warning("outbox_left", service=self.context.service, error=kind_of(error))

    def _give_back(self) -> None:
        """Let others have at once what an outage kept from being finished."""
        try:
            self.inbox.give_back()
        except DatabaseAway as error:
            _log.warning("claims_left", service=self.context.service, error=kind_of(error))

    def _as_worker(self, work: Callable[[], None]) -> None:
        done = threading.Event()
        outcome: list[BaseException] = []

        def tried() -> None:
            # nameko writes a trace of whatever leaves a worker; an outage is told in one line by who repeats.
            try:
                self.context.ready()
                work()
            except DatabaseAway as error:
                outcome.append(error)

        def keep(worker_ctx: Any, result: Any, exc_info: Any) -> tuple[Any, Any]:
            if exc_info is not None:
                outcome.append(exc_info[1])
            done.set()
            return result, exc_info

        self.container.spawn_worker(self, (tried,), {}, handle_result=keep)
        done.wait()
        if outcome:
            raise outcome[0]

    def _loop(
        self, name: str, wake: threading.Event, step: Callable[[], "_Next"], poll_s: float = POLL_S
    ) -> None:
        """Repeat a step: when it says so, else when hinted, at the latest after a poll."""
        troubles = 0
        while not self.stopping.is_set():
            # Cleared before looking, so that a hint during the look causes another look.
            wake.clear()
            try:
                self.context.ready()
                then = step()
                troubles = 0
            except (DatabaseAway, *TRANSPORT_ERRORS) as error:
                _log.warning("loop_repeats", loop=name, service=self.context.service, error=kind_of(error))
                self.stopping.wait(_TROUBLE_S[min(troubles, len(_TROUBLE_S) - 1)])
                troubles += 1
                continue
            if then is _Next.SOON:
                self.stopping.wait(_BUSY_S)
            elif then is _Next.WHEN_HINTED:
                wake.wait(poll_s)

    def _compare(self) -> None:
        """Once a minute: what was said against what was heard."""
        speakers = speakers_in(handlers_of(self.container.service_cls))
        comparison = Comparison(self.context, speakers, self._has_caught_up)
        while not self.stopping.wait(_COMPARE_S):
            try:
                with self.context.exclusion.aside():
                    comparison.run()
            except DatabaseAway as error:
                _log.warning("comparing_repeats", service=self.context.service, error=kind_of(error))

    def _has_caught_up(self, moment: datetime) -> bool:
        """Nothing that was on its way to this service then is still on its way."""
        if self.consumer is None:
            return nothing_delivered(self.context, moment)
        return self.consumer.caught_up_to() > moment.timestamp()

    def _relay(self) -> "_Next":
        with self.context.exclusion.together():
            return _after(self.relay.run_once())

    def _publish(self, relay: PublicRelay) -> "_Next":
        with self.context.exclusion.aside():
            return _after(relay.run_once())

    def _run_jobs(self, runner: JobRunner, wake: threading.Event) -> "_Next":
        looked = time.monotonic()

        def look_again() -> bool:
            nonlocal looked
            if self.stopping.is_set() or self.context.exclusion.wants_rest:
                return False
            if not (runner.more or wake.is_set() or time.monotonic() > looked + POLL_S):
                return False
            wake.clear()
            looked = time.monotonic()
            return True

        with self.context.exclusion.aside():
            runner.run_once(look_again)
        return _Next.AT_ONCE if runner.more else _Next.WHEN_HINTED

    def _work_inbox(self) -> "_Next":
        more = False

        def work() -> None:
            nonlocal more
            more = self.inbox.run_batch(self.context.settings.worker.batch).more

        self._as_worker(work)
        return _Next.AT_ONCE if more else _Next.WHEN_HINTED


def _context_of(extension: Any) -> ServiceContext:
    """What `deploy.worker` put into nameko's configuration for this service."""
    found: ServiceContext = extension.container.config["onestop"][extension.container.service_name]
    return found


class _Next(Enum):
    """When a loop takes its next step."""

    AT_ONCE = auto()
    SOON = auto()
    WHEN_HINTED = auto()


def _after(handed_on: int) -> _Next:
    if handed_on == BUSY:
        return _Next.SOON
    return _Next.AT_ONCE if handed_on == OUTBOX_CLAIM else _Next.WHEN_HINTED


class ServiceWorker:
    """Base of the four worker classes: what every service does besides hearing."""

    name: str
    linger_s: ClassVar[float] = 0.1
    """How long at most a fact that nobody waits for lingers."""
    keeps: ClassVar[Sequence[Rule]] = ()
    """How long the rows of its own tables stay."""
    seals: ClassVar[Sequence[SealedTable]] = ()
    """The sealed columns of its own tables."""
    troubles: ClassVar[Sequence[Source]] = ()
    """What it adds to the list of trouble."""
    measures: ClassVar[Sequence[Measure]] = ()
    """What sets its own gauges."""
    context = ContextProvider()

    @classmethod
    def jobs(cls, context: ServiceContext) -> Mapping[str, AnyHandler]:
        """Kind of job -> what runs it. A service without calls to the world and waits has none."""
        return {}

    @classmethod
    def restored(cls, connection: Connection, at: datetime, lost_cases: Sequence[str]) -> Mapping[str, int]:
        """What else is to be done when the database was brought back from a copy, in the transaction of
        `onestop restored` at the moment `at`; how much was done, by kind. `lost_cases` are those that the
        others know and this service does not."""
        return {}

    @Deliveries.decorator  # type: ignore[untyped-decorator]
    def deliver(self, work: Callable[[], None]) -> None:
        """Run one batch as a nameko worker; nameko waits for it when the process is told to stop."""
        work()

    @timer(interval=30, eager=True)  # type: ignore[untyped-decorator]
    def measure(self) -> None:
        """Set the gauges."""
        with self.context.exclusion.aside():
            measure(self.context, (*SOURCES, *self.troubles), self.measures)

    @timer(interval=600, eager=True)  # type: ignore[untyped-decorator]
    def keep_tables(self) -> None:
        """Turn the outbox, fold the tallies."""
        with self.context.exclusion.aside():
            keep_tables(self.context)

    @timer(interval=600, eager=True)  # type: ignore[untyped-decorator]
    def forget(self) -> None:
        """Let go what has stayed for its time."""
        with self.context.exclusion.aside():
            forget(self.context, (*retention.RULES, *self.keeps))

    @timer(interval=30, eager=True)  # type: ignore[untyped-decorator]
    def read_again(self) -> None:
        """Handle what an older release could not read and this one can."""
        with self.context.exclusion.aside():
            read_again(self.context, handlers_of(type(self)))

    @timer(interval=60, eager=True)  # type: ignore[untyped-decorator]
    def turn_keys(self) -> None:
        """Go on with a rotation of keys that somebody began."""
        with self.context.exclusion.aside():
            go_on(self.context, (*sealed.SEALED, *self.seals))
