"""The dashboard and alerts that come with the platform name what there is, and every alert has its page."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import REGISTRY, Metric

# Imported for the metrics that they declare.
import api.measures  # noqa: F401
import core.measures  # noqa: F401
import worker.measures  # noqa: F401
from api.platform_metrics import figures_metrics, rings_metrics, up_metrics
from core.figures import Due, Figures, NodeFigures, Waiting
from core.tallies import Durations, Tallies

ROOT = Path(__file__).resolve().parents[2]
WATCHING = ROOT / "deploy" / "watching"
PAGES = (ROOT / "docs" / "operations.md").read_text()

FIGURES = Figures(
    jobs={"RUNNING": 1},
    ranks={"RUNNING": 1},
    waiting=[Waiting("a/p", "WAITING_FOR_ROOM", "normal", 1, 1, 1.0)],
    nodes=[NodeFigures("a/p", "n", "READY", 8, {"running": 1}, 1.0, 1, is_held=True)],
    due={"start": Due(1, 1.0)},
    pulls_wanted=0,
    pulls_failed=0,
    oldest_pull_seconds=0.0,
    jobs_kept=1,
    object_bytes=1,
    doomed_folders=0,
    oldest_doomed_seconds=0.0,
    log_table_bytes=1,
    database_bytes=1,
    worker_groups=["local"],
    tallies=Tallies(Durations({0.1: 1}, 0.1), Durations(), {("FAILED", "EXIT_CODE"): 1}),
)
_SUFFIXES = {
    "counter": ("_total",),
    "histogram": ("_bucket", "_count", "_sum"),
    "summary": ("_count", "_sum"),
}
#: Words of PromQL that stand where a metric may stand.
_WORDS = frozenset({"and", "or", "unless", "bool", "offset", "inf", "nan"})
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_LABEL_LIST = re.compile(r"\b(by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
_SELECTOR = re.compile(r"\b([a-zA-Z_:][\w:]*)\s*\{([^}]*)\}")
_RANGE = re.compile(r"\[[^\]]*\]")
_NAME = re.compile(r"(?<![\w$.])([a-zA-Z_:][\w:]*)\b(?!\s*\()")


def _families() -> Iterator[Metric]:
    yield from REGISTRY.collect()
    yield from figures_metrics(FIGURES)
    yield from rings_metrics({"control": 0})
    yield from up_metrics(is_up=True, age_seconds=0.0)


def _exposed() -> frozenset[str]:
    return frozenset({"up"}).union(
        f"{family.name}{suffix}" for family in _families() for suffix in _SUFFIXES.get(family.type, ("",))
    )


EXPOSED = _exposed()


def metrics_in(expression: str) -> set[str]:
    """The names of metrics in an expression of PromQL."""
    bare = _SELECTOR.sub(r"\1", _STRING.sub('""', expression))
    bare = _RANGE.sub("", _LABEL_LIST.sub("", bare))
    return {name for name in _NAME.findall(bare) if name.lower() not in _WORDS}


def _rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((WATCHING / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def _panels() -> list[dict[str, Any]]:
    board = json.loads((WATCHING / "dashboard.json").read_text())
    return [panel for panel in board["panels"] if panel["type"] != "row"]


@pytest.mark.parametrize("rule", _rules(), ids=lambda rule: rule["alert"])
def test_alert_names_metrics_that_there_are_and_has_a_page(rule: dict[str, Any]) -> None:
    named = metrics_in(rule["expr"])
    assert named and named <= EXPOSED, named - EXPOSED
    assert f"### {rule['alert']}\n" in PAGES
    assert rule["annotations"]["summary"] and rule["labels"]["severity"] in ("page", "ticket")


def test_reasons_that_an_alert_counts_are_told_of_from_the_beginning() -> None:
    (rule,) = [rule for rule in _rules() if rule["alert"] == "LongshorePlatformFailsJobs"]
    (reasons,) = re.findall(r'reason=~"([A-Z_|]+)"', rule["expr"])
    ended = {
        sample.labels["reason"]
        for metric in figures_metrics(replace(FIGURES, tallies=Tallies(Durations(), Durations(), {})))
        if metric.name == "longshore_jobs_ended"
        for sample in metric.samples
    }
    assert ended == set(reasons.split("|"))


def test_pages_are_of_alerts_that_there_are() -> None:
    pages = re.findall(r"^### (Longshore\w+)$", PAGES, re.MULTILINE)
    assert sorted(pages) == sorted(rule["alert"] for rule in _rules())


def test_dashboard_names_metrics_that_there_are_and_no_data_source() -> None:
    panels = _panels()
    assert len(panels) > 20
    for panel in panels:
        assert panel["datasource"]["uid"] == "${datasource}"
        assert panel["type"] in ("timeseries", "stat", "table")
        for target in panel["targets"]:
            assert target["datasource"]["uid"] == "${datasource}"
            named = metrics_in(target["expr"])
            assert named and named <= EXPOSED, (panel["title"], named - EXPOSED)


def test_every_metric_of_ours_is_looked_at_or_described() -> None:
    families = {family.name for family in _families() if family.name.startswith("longshore_")}
    assert len(families) > 40
    assert not [name for name in families if f"`{name}`" not in PAGES and f"`{name}_total`" not in PAGES]


def test_scrape_configuration_names_the_three_processes() -> None:
    jobs = yaml.safe_load((WATCHING / "prometheus.yml").read_text())["scrape_configs"]
    assert [job["job_name"] for job in jobs] == ["longshore-api", "longshore-worker", "longshore-supervisor"]


@pytest.mark.parametrize(
    ("expression", "names"),
    [
        ('sum by (le, x) (rate(a_b{c="d{"}[5m])) > 1e3', {"a_b"}),
        ("max(a) / on (b) group_left () c{} unless on () d == 0", {"a", "c", "d"}),
        ("rate(made_up_total[$__rate_interval])", {"made_up_total"}),
    ],
)
def test_metrics_in_an_expression_are_found(expression: str, names: set[str]) -> None:
    assert metrics_in(expression) == names
