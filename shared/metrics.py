"""What operators can measure. Labels are bounded by code or catalogue: never a case, a person, a raw path."""

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    generate_latest,
)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)

_FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_SLOW = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 15, 60, 300, 1800)

BUILD_INFO = Info("onestop_build", "Version of the running code", registry=REGISTRY)
MESSAGES_PUBLISHED = Counter(
    "onestop_messages_published_total",
    "Facts handed on by the relay; result is ok, returned, nacked or failed",
    ("service", "type", "result"),
    registry=REGISTRY,
)
MESSAGES_HANDLED = Counter(
    "onestop_messages_handled_total",
    "Facts handled; result is ok, duplicate, waiting, retry or parked",
    ("service", "handler", "result"),
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
OUTBOX_PENDING = Gauge("onestop_outbox_pending", "Facts not handed on yet", ("service",), registry=REGISTRY)
OUTBOX_OLDEST_SECONDS = Gauge(
    "onestop_outbox_oldest_seconds",
    "Age of the oldest fact not handed on yet",
    ("service",),
    registry=REGISTRY,
)
PARKED_MESSAGES = Gauge(
    "onestop_parked_messages", "Messages parked for people to see", ("service",), registry=REGISTRY
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
FACTS_NEVER_SAID = Gauge(
    "onestop_facts_never_said",
    "Facts heard here that their speaker does not know: it was restored, or somebody forged them",
    ("service", "speaker"),
    registry=REGISTRY,
)
BROKER_CONNECTED = Gauge(
    "onestop_broker_connected", "1 while connected to the broker", ("service",), registry=REGISTRY
)
JOBS = Counter(
    "onestop_jobs_total",
    "Jobs worked off; result is done, retry, failed or in_doubt",
    ("service", "kind", "result"),
    registry=REGISTRY,
)
CASES = Counter(
    "onestop_cases_total", "Cases that reached a state", ("matter", "channel", "state"), registry=REGISTRY
)
CASE_STAGE_SECONDS = Histogram(
    "onestop_case_stage_seconds",
    "Time a case spent in a stage",
    ("matter", "stage"),
    buckets=_SLOW,
    registry=REGISTRY,
)
TASKS_OPEN = Gauge("onestop_tasks_open", "Tasks waiting for an officer", ("department",), registry=REGISTRY)
DEADLINES_OVERDUE = Gauge(
    "onestop_deadlines_overdue", "Open cases past their due date", ("matter",), registry=REGISTRY
)
MATERIALS = Counter(
    "onestop_materials_total",
    "Required materials settled; source is certificate, reuse, upload or waived",
    ("source",),
    registry=REGISTRY,
)
NOTIFICATIONS = Counter(
    "onestop_notifications_total", "Deliveries of notices", ("channel", "result"), registry=REGISTRY
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
