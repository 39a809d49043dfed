"""What is measured: every metric is set, promtool accepts what /metrics answers and the alert rules, and each
alert has a line in the runbook."""

import ast
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase

from deploy.services import SERVICES
from deploy.trouble import kinds
from shared import metrics
from shared.bus.topology import PARK_QUEUE
from tests.support.installation import ROOT
from tests.support.promtool import provide_promtool

ALERTS = ROOT / "deploy" / "prometheus" / "alerts.yml"
RUNBOOK = ROOT / "docs" / "runbook.md"
DECLARED = {name: metric for name, metric in vars(metrics).items() if isinstance(metric, MetricWrapperBase)}
THE_BROKERS = {"rabbitmq_queue_messages"}
_SUFFIXES = ("", "_bucket", "_count", "_sum", "_total")


@pytest.fixture(scope="module")
def promtool() -> Path:
    found = provide_promtool()
    if found is None:
        pytest.fail("no promtool: Debian's package prometheus has it")
    return found


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(ALERTS.read_text("utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def series(expression: str) -> set[str]:
    """The names of metrics in an expression."""
    return set(re.findall(r"\b(?:onestop|rabbitmq)_[a-z_]+", expression))


def test_every_metric_is_set_somewhere() -> None:
    used: set[str] = set()
    for folder in ("services", "shared", "deploy"):
        for path in (ROOT / folder).rglob("*.py"):
            if path != ROOT / "shared" / "metrics.py":
                used |= _names(ast.parse(path.read_text("utf-8")))
    # Set where it is declared: the version does not change.
    assert DECLARED.keys() - used == {"BUILD_INFO"}


def _names(tree: ast.AST) -> set[str]:
    attributes = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "metrics"
    }
    imported = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "shared.metrics"
        for alias in node.names
    }
    return attributes | imported


def test_promtool_accepts_the_metrics(promtool: Path) -> None:
    for metric in DECLARED.values():
        if metric._labelnames:
            metric.labels(*("x" for _ in metric._labelnames))
    page = metrics.render()
    for name in ("onestop_trouble", "onestop_stage_seconds_bucket", "onestop_build_info"):
        assert name.encode() in page
    done = subprocess.run([promtool, "check", "metrics"], input=page, capture_output=True, check=False)
    assert (done.returncode, done.stderr.decode()) == (0, "")


def test_promtool_accepts_the_rules(promtool: Path) -> None:
    done = subprocess.run([promtool, "check", "rules", ALERTS], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode() + done.stdout.decode()


def test_every_kind_of_trouble_has_an_alert() -> None:
    alerted = {kind for rule in rules() for kind in re.findall(r'kind="([a-z_]+)"', rule["expr"])}
    assert alerted == set(kinds(SERVICES))
    assert any(f'queue="{PARK_QUEUE}"' in rule["expr"] for rule in rules())


@pytest.mark.parametrize("rule", rules(), ids=[rule["alert"] for rule in rules()])
def test_an_alert_asks_for_what_there_is_and_has_a_line_in_the_runbook(rule: dict[str, Any]) -> None:
    known = {metric._name + suffix for metric in DECLARED.values() for suffix in _SUFFIXES} | THE_BROKERS
    assert series(rule["expr"]) <= known
    labels = {label for metric in DECLARED.values() for label in metric._labelnames} | {"le", "queue"}
    assert set(re.findall(r"([a-z]+)=\"", rule["expr"])) <= labels
    page, _, anchor = rule["annotations"]["runbook"].partition("#")
    assert ROOT / page == RUNBOOK
    headings = re.findall(r"^## (.+)$", RUNBOOK.read_text("utf-8"), re.MULTILINE)
    assert anchor in headings
    assert rule["labels"]["severity"] in ("page", "ticket", "office")


def test_every_section_of_the_runbook_has_an_alert() -> None:
    anchors = {rule["annotations"]["runbook"].partition("#")[2] for rule in rules()}
    assert set(re.findall(r"^## (.+)$", RUNBOOK.read_text("utf-8"), re.MULTILINE)) == anchors


def test_the_alerts_of_trouble_fire(promtool: Path, tmp_path: Path) -> None:
    """promtool plays an hour: each kind of trouble is there in notify, and nothing in intake."""
    inputs = [
        {"series": f'{name}{{service="{service}",kind="{kind}"}}', "values": f"{value}x60"}
        for kind in kinds(SERVICES)
        for service, there in (("notify", True), ("intake", False))
        for name, value in (
            ("onestop_trouble", "3+0" if there else "0+0"),
            ("onestop_trouble_oldest_seconds", "90000+0" if there else "0+0"),
        )
    ]
    fired = [rule for rule in rules() if "kind=" in rule["expr"]]
    expected = [
        {
            "eval_time": "1h",
            "alertname": rule["alert"],
            "exp_alerts": [
                {
                    "exp_labels": {"service": "notify", **rule["labels"]},
                    "exp_annotations": _filled(rule["annotations"], rule["expr"]),
                }
            ],
        }
        for rule in fired
    ]
    test = {
        "rule_files": [str(ALERTS)],
        "evaluation_interval": "1m",
        "tests": [{"interval": "1m", "input_series": inputs, "alert_rule_test": expected}],
    }
    file = tmp_path / "test.yml"
    file.write_text(yaml.safe_dump(test, allow_unicode=True), encoding="utf-8")
    done = subprocess.run([promtool, "test", "rules", file], capture_output=True, check=False)
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()


def _filled(annotations: dict[str, str], expression: str) -> dict[str, str]:
    value = "1d 1h 0m 0s" if "oldest_seconds" in expression else "3"
    return {
        name: text.replace("{{ $labels.service }}", "notify")
        .replace("{{ $value | humanizeDuration }}", value)
        .replace("{{ $value }}", value)
        for name, text in annotations.items()
    }
