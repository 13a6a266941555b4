"""A page that needs no network: tables and plotly figures in one HTML file."""

import importlib.resources
import json
from collections.abc import Iterable, Mapping
from html import escape
from string import Template
from typing import Any


def page(
    title: str,
    body: Iterable[str],
    *,
    figures: Mapping[str, Any],
    network: Mapping[str, Any] | None = None,
) -> str:
    """Returns the page, with plotly.js inside if there is anything to draw (about 5 MB).

    Args:
        title: Its title, as text.
        body: Its HTML. A figure is drawn into the element that has its name as id.
        figures: Figures by name, as plotly.js takes them.
        network: What ``page.js`` shows of a chosen network, into the elements ``chosen`` (a
            select) and ``network``; it goes with a figure ``front``.
    """
    from plotly.offline import get_plotlyjs  # type: ignore[attr-defined]

    data = json.dumps(
        {"figures": figures, "network": network}, allow_nan=False, separators=(",", ":")
    )
    return Template(_part("page.html")).substitute(
        title=escape(title),
        style=_part("page.css"),
        body="\n".join(body),
        plotly=get_plotlyjs() if figures else "",  # type: ignore[no-untyped-call]
        data=data.replace("<", "\\u003c"),  # no text in it can end the script element
        script=_part("page.js"),
    )


def _part(name: str) -> str:
    file = importlib.resources.files(__package__) / name
    return file.read_text(encoding="utf-8")
