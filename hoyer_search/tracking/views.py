"""Saved views of an experiment, so that its pages open on charts without a click.

MLflow keeps a shared view as an experiment tag whose value is the state of its page. That format
is not documented: it was read from the page's own code (MLflow 3.17, ``sharedViewState`` in its
JavaScript), and a page that does not understand it shows its default instead.
"""

import base64
import json
import re
import zlib
from collections.abc import Iterable, Sequence
from typing import Any

from hoyer_search.tracking import links, names

TAG = "mlflow.sharedViewState."
_RUN_NAME = "attributes.`Run Name`"
NAME_WIDTH, COLUMN_WIDTH = 220, 130
"""Widths of a table's columns in pixels."""

_ABOUT = "Sweeps of hoyer-search; each has its front in the description of its run."
_OURS = re.compile(r"\[Pareto front\].*\s+" + re.escape(_ABOUT) + r"\n?")

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


def pages(experiment: str, sweep_id: str | None = None) -> dict[str, str]:
    """Returns the part after the address of each view, by its title.

    Args:
        experiment: The experiment's id.
        sweep_id: The sweep whose own front is meant; by default that of all sweeps.
    """
    front = FRONT if sweep_id is None else front_key(sweep_id)
    return {
        "Pareto front": links.view(experiment, front, chart=True),
        "All trials": links.view(experiment, TRIALS, chart=False),
        "Sweeps": links.view(experiment, SWEEPS, chart=False),
    }


def description(experiment: str, present: str) -> str:
    """Returns the description of an experiment, which begins with links to its views.

    Args:
        experiment: The experiment's id.
        present: The description it has. What somebody wrote there stays, beside the links or
            in their place.
    """
    shown = " · ".join(f"[{title}]({link})" for title, link in pages(experiment).items())
    ours, found = f"{shown}\n\n{_ABOUT}\n", _OURS.search(present)
    if found is not None:
        return present[: found.start()] + ours + present[found.end() :]
    return present if present.strip() else ours


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
    widths = dict.fromkeys(columns, COLUMN_WIDTH) | {_RUN_NAME: NAME_WIDTH}
    return _state(search, order_by) | {
        "selectedColumns": columns,
        "columnOrder": [_RUN_NAME, *columns],
        "columnWidths": widths,
    }


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
        *_contour([*searched, "log2_compression"]),
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


def _contour(axes: Sequence[str]) -> list[Json]:
    """Returns accuracy over the first two axes, none if there is one only."""
    if len(axes) < 2:
        return []
    x, y, *_ = axes
    named = {"xaxis": x, "yaxis": y, "zaxis": "accuracy"}
    card = _card("contour", "CONTOUR", f"Accuracy over {x} and {y}")
    return [card | {axis: {"key": key, "type": "METRIC"} for axis, key in named.items()}]


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
