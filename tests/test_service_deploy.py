"""What is shipped for operators fits what the server does: names, verbs, paths, hardening."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from lsr.__main__ import VERBS
from service.config import read_config
from service.metrics.names import METRICS
from service.problems import KINDS

DEPLOY = Path(__file__).resolve().parent.parent / "service" / "deploy"
UNIT = (DEPLOY / "lsr-search.service").read_text()
DOCKER = (DEPLOY / "Dockerfile").read_text()
RULES = [
    rule
    for group in yaml.safe_load((DEPLOY / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]
DASHBOARD: Any = json.loads((DEPLOY / "dashboard.json").read_text())


def expressions() -> list[str]:
    panels = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    asked = [one["query"]["query"] for one in DASHBOARD["templating"]["list"] if "refresh" in one]
    return [rule["expr"] for rule in RULES] + panels + asked


def names_in(expression: str) -> set[str]:
    """Metric names, of a histogram without what Prometheus appends."""
    found = set(re.findall(r"\blsr_[a-z_]+", expression))
    return {
        re.sub("_(bucket|sum|count)$", "", name) if name not in METRICS else name for name in found
    }


def test_alerts_and_dashboard_use_exactly_the_metrics_that_there_are() -> None:
    used = set().union(*(names_in(expression) for expression in expressions()))
    assert used == set(METRICS)


def test_labels_that_alerts_and_dashboard_select_by_exist() -> None:
    added_by_prometheus = {"job", "instance"}
    for expression in expressions():
        for name, selectors in re.findall(r"\b(lsr_[a-z_]+)\{([^}]*)\}", expression):
            metric = METRICS[next(iter(names_in(name)))]
            labels = set(re.findall(r"(\w+)=", selectors)) - added_by_prometheus
            assert labels <= set(metric.labels), expression
    for expression in expressions():
        for reasons in re.findall(r'reason=~"([^"]*)"', expression):
            assert set(reasons.split("|")) <= set(KINDS), "a problem that nobody answers with"


def test_every_alert_has_a_section_in_the_runbook_and_no_section_is_left_over() -> None:
    runbook = (DEPLOY / "RUNBOOK.md").read_text()
    named = re.findall(r'<a id="(\w+)"></a>(\w+) \|', runbook)
    assert [alert.lower() for _, alert in named] == [anchor for anchor, _ in named]
    assert [alert for _, alert in named] == [rule["alert"] for rule in RULES]
    for rule in RULES:
        assert rule["annotations"]["runbook"].endswith(f"RUNBOOK.md#{rule['alert'].lower()}")
        assert rule["labels"]["severity"] in ("page", "ticket")
    assert set(re.findall(r"`lsr (\w+)", runbook)) <= set(VERBS)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="Debian's package prometheus has it")
def test_prometheus_accepts_the_rules(tmp_path: Path) -> None:
    """And every expression of the dashboard, put into a rule."""
    made = [
        {"record": f"panel:{i}", "expr": re.sub(r"\$__rate_interval", "5m", expression)}
        for i, expression in enumerate(expressions())
        if not expression.startswith("label_values")
    ]
    path = tmp_path / "panels.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": made}]}))
    for rules in (DEPLOY / "alerts.yml", path):
        done = subprocess.run(
            ["promtool", "check", "rules", str(rules)], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_panels_lie_side_by_side() -> None:
    places = [tuple(panel["gridPos"].values()) for panel in DASHBOARD["panels"]]
    assert len({(x, y) for x, y, *_ in places}) == len(places)
    assert all(x + w <= 24 for x, _, w, _ in places)
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(places)


def test_the_unit_is_hardened_and_starts_what_exists() -> None:
    settings = dict(re.findall(r"^(\w+)=(.*)$", UNIT, re.MULTILINE))
    assert settings["User"] == "lsr-search"
    assert settings["ProtectSystem"] == "strict"
    assert settings["NoNewPrivileges"] == "yes"
    assert settings["StateDirectory"] == "lsr-search"
    assert settings["CapabilityBoundingSet"] == ""
    assert "PYTHONSAFEPATH=1" in settings["Environment"]
    assert settings["ExecReload"].startswith("/bin/kill -HUP")
    assert settings["KillMode"] == "mixed", "SIGTERM goes to the supervisor alone"
    verb = settings["ExecStart"].split()[1]
    assert verb in VERBS


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd")
def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    program = tmp_path / "lsr"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    unit = tmp_path / "lsr-search.service"
    unit.write_text(UNIT.replace("/opt/lsr-search/bin/lsr", str(program)))
    done = subprocess.run(
        ["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "lsr-search.service" not in done.stderr, done.stderr


def test_the_image_runs_as_nobody_special_and_names_no_registry() -> None:
    lines = [line for line in DOCKER.splitlines() if not line.startswith("#")]
    assert "USER 10001:10001" in lines
    assert lines.index("USER 10001:10001") < lines.index('ENTRYPOINT ["lsr"]')
    assert "PYTHONSAFEPATH=1" in DOCKER
    assert "HEALTHCHECK" in DOCKER
    images = re.findall(r"^FROM (\S+)", DOCKER, re.MULTILINE)
    assert all("." not in image.split(":")[0] and "/" not in image for image in images)
    command = json.loads(next(line for line in lines if line.startswith("CMD"))[4:])
    assert command[0] in VERBS
    assert "--insecure" not in command, "it refuses to start without a key"


def test_the_settings_that_are_shipped_are_settings() -> None:
    config = read_config(DEPLOY / "lsr.toml")
    assert config.server.data == "/var/lib/lsr-search"
    assert config.settings().watermarks.min_free == 1024 << 20


FIRING = """
rule_files: [alerts.yml]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - {series: 'up{job="lsr-search", instance="a"}', values: '1 1 0 0 0 0'}
      - {series: 'lsr_http_requests_total{instance="a", status="200"}', values: '0+100x30'}
      - {series: 'lsr_http_requests_total{instance="a", status="500"}', values: '0+5x30'}
      - {series: 'lsr_search_duration_seconds_bucket{index="i", le="0.25"}', values: '0+90x30'}
      - {series: 'lsr_search_duration_seconds_bucket{index="i", le="1"}', values: '0+100x30'}
      - {series: 'lsr_search_duration_seconds_bucket{index="i", le="+Inf"}', values: '0+100x30'}
      - {series: 'lsr_effectiveness{index="i"}', values: '0.5x10 0.4x60'}
      - {series: 'lsr_effectiveness{index="j"}', values: '0.5x10 0.49x60'}
      - {series: 'lsr_tasks{state="failed"}', values: '0x5 1x20'}
      - {series: 'lsr_disk_free_bytes', values: '5e9x10 1e9x20'}
    alert_rule_test:
      - eval_time: 4m
        alertname: LsrDown
        exp_alerts: [{exp_labels: {severity: page, job: lsr-search, instance: a}}]
      - eval_time: 20m
        alertname: LsrErrors
        exp_alerts: [{exp_labels: {severity: page, instance: a}}]
      - eval_time: 20m
        alertname: LsrSlowSearches
        exp_alerts: [{exp_labels: {severity: ticket, index: i}}]
      - eval_time: 50m
        alertname: LsrEffectivenessDrop
        exp_alerts: [{exp_labels: {severity: ticket, index: i}}]
      - eval_time: 8m
        alertname: LsrTasksFail
        exp_alerts: [{exp_labels: {severity: ticket, state: failed}}]
      - {eval_time: 9m, alertname: LsrDiskLow, exp_alerts: []}
      - {eval_time: 20m, alertname: LsrDiskLow, exp_alerts: [{exp_labels: {severity: page}}]}
"""
"""What a scrape would have told, and which alerts must come of it."""


@pytest.mark.skipif(shutil.which("promtool") is None, reason="Debian's package prometheus has it")
def test_alerts_fire_when_they_should_and_only_then(tmp_path: Path) -> None:
    rules = yaml.safe_load((DEPLOY / "alerts.yml").read_text())
    for group in rules["groups"]:
        for rule in group["rules"]:
            del rule["annotations"]  # whose words the expectation would have to repeat
    (tmp_path / "alerts.yml").write_text(yaml.safe_dump(rules))
    (tmp_path / "test.yml").write_text(FIRING)
    done = subprocess.run(
        ["promtool", "test", "rules", "test.yml"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
