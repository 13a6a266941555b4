import json

import pytest
from conftest import Builder

from hoyer_search.tracking.timeline import Span, lanes, spans


def span(start: float, end: float) -> Span:
    return Span(uid=f"{start}", start=start, end=end)


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ([], []),
        ([(0, 1), (1, 2), (2, 3)], [0, 0, 0]),
        ([(0, 3), (1, 2), (2, 4), (3, 5)], [0, 1, 1, 0]),
        ([(0, 9), (1, 9), (2, 3), (4, 9)], [0, 1, 2, 2]),
    ],
)
def test_trials_share_rows_but_never_overlap(
    times: list[tuple[float, float]], expected: list[int]
) -> None:
    assert lanes([span(*one) for one in times]) == expected


def test_a_span_runs_from_the_first_step_to_the_end_of_measuring(sweep: Builder) -> None:
    sweep.pretrain()
    result = sweep.trial(0)
    lines = list(sweep.folder.metrics(result.uid))
    (found,) = spans(sweep.folder, [result])
    assert (found.start, found.end) == (lines[0]["time"], lines[-1]["time"])
    path = sweep.folder.trial(result.uid) / "metrics.jsonl"
    first = lines[0] | {"wall_seconds": 7.0}
    path.write_text("\n".join(map(json.dumps, [first, *lines[1:]])) + '\n{"stage": "fin')
    result.wall_seconds["measure"] = 2.5
    (torn,) = spans(sweep.folder, [result])
    assert (torn.start, torn.end) == (found.start - 7.0, found.end + 2.5)


def test_a_trial_without_steps_has_no_span(sweep: Builder) -> None:
    sweep.pretrain()
    result = sweep.end(sweep.start(0), error="Traceback")
    assert spans(sweep.folder, [result]) == []
