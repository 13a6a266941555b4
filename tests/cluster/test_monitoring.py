"""The dashboard and its provisioning agree with the metrics there are and with compose."""

import json
import re

from manifests import CLUSTER, load
from ray_head import METRICS

MONITORING = CLUSTER / "monitoring"
DASHBOARD = json.loads((MONITORING / "dashboard.json").read_text())
COMPOSE = load(CLUSTER / "compose.yaml")
QUERIES = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]


def test_queries_ask_for_the_metrics_there_are():
    assert {name for query in QUERIES for name in re.findall(r"ray_\w+", query)} == METRICS
    for query in QUERIES:
        assert query.count("(") == query.count(")")
        assert '{sweep=~"$sweep"}' in query
        # A counter is worth something as a rate alone; a gauge has none.
        assert ("rate(" in query) == ("_total{" in query)
    sweeps = next(v for v in DASHBOARD["templating"]["list"] if v["name"] == "sweep")
    (asked,) = re.findall(r"label_values\((\w+), sweep\)", sweeps["query"]["query"])
    assert asked in METRICS


def test_panels_stand_side_by_side():
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = [(p["gridPos"]["x"], p["gridPos"]["y"]) for p in panels]
    assert len(set(places)) == len(panels)
    assert all(p["gridPos"]["x"] + p["gridPos"]["w"] <= 24 for p in panels)
    assert all(p["description"] and p["title"] for p in panels)


def test_grafana_finds_prometheus_which_finds_the_nodes():
    (source,) = load(MONITORING / "datasource.yaml")["datasources"]
    assert source["url"] == "http://prometheus:9090"
    (job,) = load(MONITORING / "prometheus.yaml")["scrape_configs"]
    (nodes,) = job["dns_sd_configs"]
    for name in nodes["names"]:
        service = COMPOSE["services"][name]
        assert f"--metrics-export-port={nodes['port']}" in service["command"]
        assert service["networks"] == COMPOSE["services"]["prometheus"]["networks"]


def test_files_are_put_where_they_are_looked_for():
    placed = {
        COMPOSE["configs"][config["source"]]["file"]: config["target"]
        for service in ("prometheus", "grafana")
        for config in COMPOSE["services"][service]["configs"]
    }
    assert {CLUSTER / path for path in placed} == set(MONITORING.iterdir())
    (provider,) = load(MONITORING / "dashboards.yaml")["providers"]
    assert placed["monitoring/dashboard.json"].startswith(provider["options"]["path"])
