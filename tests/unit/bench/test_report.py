"""What `make bench` prints: medians over the rounds, under the keys that others read."""

import json

from tests.bench.crowd import Crowd, crowd_of
from tests.bench.generator import Sent
from tests.bench.latency import Percentiles
from tests.bench.report import Report, middle
from tests.bench.submissions import Submissions
from tests.bench.throughput import Figures
from tests.bench.whole import Whole


def test_the_keys_stay() -> None:
    report = Report()
    report.add("onestop", Figures(400, 2.5, 1, 5, 0.5))
    report.add("celery", Figures(50, 25, 10, 58, 10))
    report.survives |= {"onestop": True, "celery": False}
    report.latency["rabbitmq"] = Percentiles(20, 40)
    report.add_part("whole", Whole(120, 300, 12, {"web": 4.0, "worker.intake": 2.0}))
    report.add_part("submissions", Submissions(220, 50))
    report.add_part("crowd", Crowd(256, 0, 2900, 150, 140))
    found = json.loads(report.as_json())
    assert found["contenders"]["celery"] == {
        "cases_per_s": 50,
        "cpu_ms_per_case": 25,
        "deliveries_per_case": 10,
        "statements_per_case": 58,
        "commits_per_case": 10,
        "survives_crash_between_commit_and_publish": False,
    }
    assert found["latency_ms"] == {"rabbitmq": {"p50": 20, "p99": 40}}
    assert found["whole"] == {"cases_per_s": 120, "p95_ms": 300, "backlog": 12}
    assert found["submissions"] == {"per_s": 220, "p95_ms": 50}
    assert {"clients": 256, "errors": 0, "p99_ms": 2900}.items() <= found["crowd"].items()
    assert found["cpu_ms_by_process"] == {"web": 4.0, "worker.intake": 2.0}


def test_of_rounds_the_median_is_told_also_one_level_deeper() -> None:
    rounds = [{"ratio": ratio, "pages_ms": {"queue": 10 * ratio}} for ratio in (1.0, 3.0, 2.0)]
    assert middle(rounds) == {"ratio": 2.0, "pages_ms": {"queue": 20.0}}


def test_no_round_hides_the_errors_of_another() -> None:
    assert middle([{"errors": 0}, {"errors": 7}, {"errors": 0}]) == {"errors": 7}


def test_what_was_answered_late_does_not_count_as_answered() -> None:
    few = [Sent("submit", n / 10, 50, 201, "n") for n in range(100)]
    many = [*few, Sent("submit", 9.5, 900, 201, "n"), Sent("submit", 9.6, 3, 503, None)]
    found = crowd_of(256, few, many, 10.0)
    assert (found.errors, found.per_s_of_few, found.per_s) == (1, 10.0, 10.0)
    assert found.p99_ms == 50
