"""What operators can measure. Labels are bounded by code or catalogue: never a case, a person, a raw path."""

from importlib.metadata import version

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

# A series more for each one, and nobody reads when a counter was made.
disable_created_metrics()  # type: ignore[no-untyped-call]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)

_FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_DAYS = tuple(hours * 3600.0 for hours in (0.1, 1, 4, 24, 48, 72, 120, 240, 480, 1440))
_SLOW = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 15, 60, 300, 1800)

BUILD_INFO = Info("onestop_build", "Version of the running code", registry=REGISTRY)
BUILD_INFO.info({"version": version("onestop")})
MESSAGES_PUBLISHED = Counter(
    "onestop_messages_published_total",
    "Facts handed on by the relay",
    ("service", "type"),
    registry=REGISTRY,
)
PUBLISH_REFUSED = Counter(
    "onestop_publish_refused_total",
    "Times the broker did not take what the relay handed on; reason is nack, returned or confirm-timeout",
    ("reason",),
    registry=REGISTRY,
)
MESSAGES_HANDLED = Counter(
    "onestop_messages_handled_total",
    "Facts taken; result is ok, duplicate, set_aside, or the state in which the fact lies in the inbox",
    ("service", "type", "result"),
    registry=REGISTRY,
)
HANDLER_SECONDS = Histogram(
    "onestop_handler_seconds",
    "Time one batch takes, from first statement to commit",
    ("service",),
    buckets=_FAST,
    registry=REGISTRY,
)
MESSAGE_AGE_SECONDS = Histogram(
    "onestop_message_age_seconds",
    "Age of a fact when it has been handled",
    ("service",),
    buckets=_SLOW,
    registry=REGISTRY,
)
INFLIGHT = Gauge(
    "onestop_inflight", "Messages taken and not yet acknowledged", ("service",), registry=REGISTRY
)
OUTBOX_PENDING = Gauge(
    "onestop_outbox_pending",
    "Facts not handed on yet, counted up to 1,001",
    ("service",),
    registry=REGISTRY,
)
OUTBOX_OLDEST_SECONDS = Gauge(
    "onestop_outbox_oldest_seconds",
    "Age of the oldest fact not handed on yet",
    ("service",),
    registry=REGISTRY,
)
PUBLIC_OLDEST_SECONDS = Gauge(
    "onestop_public_oldest_seconds",
    "Age of the oldest fact not published yet for foreign subscribers",
    ("service",),
    registry=REGISTRY,
)
TROUBLE = Gauge(
    "onestop_trouble",
    "What does not go on by itself, by kind as `onestop trouble list` has it, counted up to 1,001",
    ("service", "kind"),
    registry=REGISTRY,
)
TROUBLE_OLDEST_SECONDS = Gauge(
    "onestop_trouble_oldest_seconds",
    "Age of the oldest trouble of a kind; 0 where there is none",
    ("service", "kind"),
    registry=REGISTRY,
)
ROWS_FORGOTTEN = Counter(
    "onestop_rows_forgotten_total",
    "Rows that went after their time",
    ("service", "table"),
    registry=REGISTRY,
)
FACTS_MISSING = Gauge(
    "onestop_facts_missing",
    "Facts that a speaker handed on and that never came here; they are said again",
    ("service", "speaker"),
    registry=REGISTRY,
)
FACTS_NOT_COMPARED_SECONDS = Gauge(
    "onestop_facts_not_compared_seconds",
    "Age of the last moment up to which all that a speaker handed on is known to have come here",
    ("service", "speaker"),
    registry=REGISTRY,
)
FACTS_NEVER_SAID = Gauge(
    "onestop_facts_never_said",
    "Facts heard here that their speaker does not know: it was restored, or somebody forged them",
    ("service", "speaker"),
    registry=REGISTRY,
)
NOT_AS_WITNESSED = Gauge(
    "onestop_not_as_witnessed",
    "1 while the database is an older copy of itself, or its witness cannot be had: nothing is handled",
    ("service",),
    registry=REGISTRY,
)
BROKER_CONNECTED = Gauge(
    "onestop_broker_connected", "1 while connected to the broker", ("service",), registry=REGISTRY
)
JOBS = Counter(
    "onestop_jobs_total",
    "Jobs run; result is done, retry or failed",
    ("service", "kind", "result"),
    registry=REGISTRY,
)
CASES = Counter("onestop_cases_total", "Cases that reached a state", ("matter", "state"), registry=REGISTRY)
STAGE_SECONDS = Histogram(
    "onestop_stage_seconds",
    "Time from the opening of a step's task to its end, on the legal clock",
    ("matter", "stage"),
    buckets=_DAYS,
    registry=REGISTRY,
)
TASKS_OPEN = Gauge(
    "onestop_tasks_open",
    "Tasks that are not done, counted up to 1,001",
    ("department",),
    registry=REGISTRY,
)
TASKS_OVERDUE = Gauge(
    "onestop_tasks_overdue",
    "Tasks that are not done and past their due date, counted up to 1,001",
    ("department",),
    registry=REGISTRY,
)
MATERIALS = Counter(
    "onestop_materials_total",
    "Required materials looked at; source is certificate or upload, none where it is missing or not needed",
    ("source",),
    registry=REGISTRY,
)
NOTIFICATIONS = Counter(
    "onestop_notifications_total",
    "Answers about deliveries of notices; result is the state that followed",
    ("channel", "result"),
    registry=REGISTRY,
)
HTTP_WAITING = Gauge("onestop_http_waiting", "Requests that wait for their turn", registry=REGISTRY)
HTTP_SENT_AWAY = Counter(
    "onestop_http_sent_away_total",
    "Requests refused without a turn; reason is busy (waited too long) or database (it could not be reached)",
    ("reason",),
    registry=REGISTRY,
)
HTTP_SECONDS = Histogram(
    "onestop_http_seconds",
    "Time to answer a request, by declared route",
    ("method", "route", "status"),
    buckets=_FAST,
    registry=REGISTRY,
)


def render() -> bytes:
    """The page that /metrics answers, in the Prometheus text format; serve it as CONTENT_TYPE."""
    return generate_latest(REGISTRY)
