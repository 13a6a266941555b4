"""Saved views of an experiment, so that its pages open on charts without a click.

MLflow keeps a shared view as an experiment tag whose value is the state of its page. That format
is not documented: it was read from the page's own code (MLflow 3.17, ``sharedViewState`` in its
JavaScript), and a page that does not understand it shows its default instead.
"""

import base64
import json
import zlib
from collections.abc import Iterable, Sequence
from typing import Any

from hoyer_search.tracking import names

TAG = "mlflow.sharedViewState."
TRIALS, SWEEPS, FRONT = "hoyer-trials", "hoyer-sweeps", "hoyer-front"

Json = dict[str, Any]


def front_key(sweep_id: str) -> str:
    """Returns the key of the view of one sweep's front."""
    return f"{FRONT}-{sweep_id}"


def tags(
    identity: names.Identity, *, searched: Sequence[str], points: Iterable[str], created: int
) -> dict[str, str]:
    """Returns the experiment tags that hold the views.

    Args:
        identity: The sweep, which gets a view of its own front.
        searched: Names of the metrics of searched parameters, e.g. ``log10_decay``.
        points: Names of the operating points.
        created: When, in Unix milliseconds.
    """
    trials = f"tags.`{names.KIND}` = 'trial'"
    own = f"{trials} AND tags.`{names.SWEEP_ID}` = '{identity.sweep_id}'"
    best = [f"compression_{names.alias(point)}" for point in points]
    outcome = ["accuracy", "test_accuracy", "compression", "nonzeros", "macs"]
    views = {
        front_key(identity.sweep_id): (f"Pareto front of {identity.sweep}", _front(own, searched)),
        FRONT: ("Pareto front", _front(trials, searched)),
        TRIALS: ("All trials", _table(trials, [*outcome, *searched, "minutes"], "accuracy")),
        SWEEPS: (
            "Sweeps",
            _table(
                f"tags.`{names.KIND}` = 'sweep'",
                ["hypervolume", *best, "dense_accuracy", "trials", "failed"],
                "hypervolume",
            ),
        ),
    }
    return {f"{TAG}{key}": _pack(name, state, created) for key, (name, state) in views.items()}


def _pack(name: str, state: Json, created: int) -> str:
    packed = base64.b64encode(zlib.compress(json.dumps(state).encode())).decode()
    return json.dumps(
        {
            "name": name,
            "createdAt": created,
            "updatedAt": created,
            "state": f"deflate;{packed}",
        }
    )


def _state(search: str, order_by: str) -> Json:
    return {
        "searchFilter": search,
        "orderByKey": f"metrics.`{order_by}`",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "runsHiddenMode": "SHOW_ALL",
        "autoRefreshEnabled": True,
        "hideEmptyCharts": True,
    }


def _table(search: str, metrics: Sequence[str], order_by: str) -> Json:
    columns = [*(f"metrics.`{m}`" for m in metrics), f"tags.`{names.STATE}`"]
    return _state(search, order_by) | {"selectedColumns": columns}


def _front(search: str, searched: Sequence[str]) -> Json:
    # Sections are matched by name; the page adds every other metric's chart to them by itself.
    sections = [
        {
            "uuid": f"hoyer-section-{index}",
            "name": name,
            "display": index == 0,
            "isReordered": True,
            "deleted": False,
            "isGenerated": False,
            "columns": 2 if index == 0 else 3,
            "cardHeight": 440 if index == 0 else 360,
        }
        for index, name in enumerate(
            ["Pareto front", "val", "prune", "train", "Model metrics", "System metrics"]
        )
    ]
    charts = [
        _scatter(0, "Accuracy against log2 compression", "log2_compression", "accuracy"),
        *(
            _scatter(index, f"{y} against {x}", x, y)
            for x in searched[:2]
            for index, y in ((1, "log2_compression"), (2, "accuracy"))
        ),
        {
            **_card("parallel", "PARALLEL", "Parameters and outcomes"),
            "selectedParams": [],
            "selectedMetrics": [*searched, "accuracy", "log2_compression"],
            "showAllRuns": False,
        },
    ]
    return _table(search, ["accuracy", "compression"], "accuracy") | {
        "compareRunCharts": charts,
        "compareRunSections": sections,
        "isAccordionReordered": True,
    }


def _card(uuid: str, kind: str, title: str) -> Json:
    return {
        "uuid": f"hoyer-{uuid}",
        "type": kind,
        "runsCountToCompare": 100,
        "metricSectionId": "hoyer-section-0",
        "deleted": False,
        "isGenerated": False,
        "displayName": title,
    }


def _scatter(index: int, title: str, x: str, y: str) -> Json:
    axes = {"xaxis": {"key": x, "type": "METRIC"}, "yaxis": {"key": y, "type": "METRIC"}}
    return _card(f"scatter-{index}-{x}", "SCATTER", title) | axes
