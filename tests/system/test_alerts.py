"""Alerts and dashboard name metrics that the daemons have, and each alert has its runbook."""
import json
import re
import shutil
import subprocess

import pytest

from suite import ROOT

FOLDER = ROOT / "conf/prometheus"
RULES = (FOLDER / "reelstore-alerts.yml").read_text()
EXPRESSIONS = re.findall(r"^    expr: (.*)", RULES, re.M)
DASHBOARD = [target["expr"] for panel in json.loads((FOLDER / "grafana-dashboard.json").read_text())["panels"] for target in panel["targets"]]


@pytest.fixture(scope="module")
def metrics():
    """Every metric that the sources register, with what Prometheus makes of histograms."""
    names = set()
    for top in ("common", "client", "tracker", "idserver", "storage", "httpd"):
        for source in (ROOT / top).rglob("*.c"):
            names |= set(re.findall(r'"(reel_[a-z0-9_]+)"', source.read_text()))
    return names


def of(expression):
    return {re.sub(r"_bucket$", "", name) for name in re.findall(r"\breel_[a-z0-9_]+", re.sub(r'"[^"]*"', "", expression))}


@pytest.mark.parametrize("expression", EXPRESSIONS + DASHBOARD)
def test_it_names_metrics_that_are_there(expression, metrics):
    assert of(expression) <= metrics and (of(expression) or "up{" in expression)


def test_each_alert_has_its_place_in_the_operations_page():
    alerts, runbooks = re.findall(r"- alert: (\w+)", RULES), re.findall(r"runbook: docs/operations.md#(\w+)", RULES)
    headings = re.findall(r"^### (\w+)$", (ROOT / "docs/operations.md").read_text(), re.M)
    assert len(alerts) >= 15 and runbooks == [alert.lower() for alert in alerts]
    assert [heading for heading in headings if heading.startswith("Reel")] == alerts


def test_promtool_takes_the_rules():
    if not shutil.which("promtool"):
        pytest.skip("promtool is missing (package prometheus)")
    done = subprocess.run(["promtool", "check", "rules", str(FOLDER / "reelstore-alerts.yml")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
