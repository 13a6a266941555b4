"""The description of a sweep's run: what came out, where to look, how to fetch it. Markdown."""

import math
from collections.abc import Mapping

from hoyer_search.confirmation import spread_text, verdict
from hoyer_search.front import Front
from hoyer_search.store import SweepFolder
from hoyer_search.tracking import names
from hoyer_search.tracking.snapshot import Snapshot

MAX_ROWS = 20
MAX_LENGTH = 7900
"""MLflow refuses longer tags than 8,000 characters."""


def sweep_note(
    sweep: Snapshot,
    *,
    links: Mapping[str, str],
    trials: Mapping[str, str],
    picture: str,
    uri: str | None = None,
) -> str:
    """Returns the description of a sweep.

    Args:
        sweep: The sweep.
        links: Links to MLflow's pages by their text.
        trials: Links to the trials' runs by uid.
        picture: Link to the picture of the front.
        uri: Tracking URI of those pages.
    """
    parts = [
        " · ".join(f"[{text}]({link})" for text, link in links.items()),
        sweep.config.description,
        f"{len(sweep.results)} of {sweep.num_trials} trials ended"
        + (f", {sweep.num_failed} failed." if sweep.num_failed else "."),
    ]
    if sweep.config.protocol == "paper":
        parts.append("**Chosen by test accuracy, as in the paper** (`protocol: paper`).")
    if sweep.front is not None:
        parts.append(f"![Pareto front]({picture})" if sweep.front.points else "")
        parts.append(_dense_line(sweep.front))
        parts.append(_operating_points(sweep.front))
        parts.append(_confirmations(sweep))
        parts.append(_pull(sweep.folder, sweep.front, uri))
        parts.append(_front_table(sweep.front, trials))
    return "\n\n".join(part for part in parts if part)[:MAX_LENGTH] + "\n"


def _dense_line(front: Front) -> str:
    dense = front.dense
    return (
        f"Dense network: {dense.val_accuracy:.2%} on validation, {dense.test_accuracy:.2%} on "
        f"test, {dense.nonzeros:,} weights, {dense.macs:,} MACs."
    )


def _operating_points(front: Front) -> str:
    rows = [
        *_head("Point", "Floor", "Accuracy", "Test", "Compression", "Nonzeros", "MACs", "Structure")
    ]
    for name, point in front.operating_points.items():
        floor = f"{front.floors[name]:.2%}"
        if point is None:
            rows.append(f"| **{name}** | {floor} | none yet | | | | | |")
            continue
        rows.append(
            f"| **{name}** | {floor} | {point.val_accuracy:.2%} | {point.test_accuracy:.2%} "
            f"| {front.times(point)} | {point.nonzeros:,} | {point.macs:,} "
            f"| {point.structure} |"
        )
    return "\n".join(["### Operating points", "", *rows])


def _confirmations(sweep: Snapshot) -> str:
    rows = [
        f"| **{name}** | {verdict(one.confirmed)} | {len(one.points)} of {one.wanted} | "
        + " | ".join(
            spread_text(spread, percent=measure.endswith("accuracy"))
            for measure, spread in one.spreads.items()
        )
        + " |"
        for name, one in sweep.confirmations.items()
    ]
    if not rows:
        return ""
    head = _head("Point", "Confirmed", "Retrained", "Accuracy", "Test", "Nonzeros", "MACs")
    return "\n".join(["### Winners trained again, with other seeds", "", *head, *rows])


def _pull(folder: SweepFolder, front: Front, uri: str | None) -> str:
    name = next((n for n, point in front.operating_points.items() if point is not None), None)
    if name is None:
        return "No network keeps the floor of any operating point yet."
    return f"Fetch one:\n\n```\n{names.pull_command(folder, name, uri=uri)}\n```"


def _front_table(front: Front, trials: Mapping[str, str]) -> str:
    if not front.points:
        return ""
    step = math.ceil(len(front.points) / MAX_ROWS)
    rows = [
        f"| [#{p.trial:03d}]({trials[p.uid]}) | {p.val_accuracy:.2%} | {p.test_accuracy:.2%} "
        f"| {front.times(p)} | {p.nonzeros:,} | {p.macs:,} | {p.threshold:.3g} |"
        for p in front.points[::step]
    ]
    title = "### Front" if step == 1 else f"### Front (every {step}th of {len(front.points)})"
    head = _head("Trial", "Accuracy", "Test", "Compression", "Nonzeros", "MACs", "Threshold")
    return "\n".join([title, "", *head, *rows])


def _head(*columns: str) -> list[str]:
    """Returns the head of a table; MLflow's page puts no room between columns by itself."""
    return [
        "|" + "|".join(f"{name}&emsp;&emsp;" for name in columns) + "|",
        "|---" * len(columns) + "|",
    ]
