"""What a terminal and a log file show of the same events."""

import dataclasses
import io
import itertools
from types import SimpleNamespace

from rich.console import Console
from test_front import make_front, make_point

from hoyer_search import display
from hoyer_search.cli import terminal
from hoyer_search.display import Display, clock, points_table
from hoyer_search.results import Event, Progress, TrialResult, TrialSpec

SPEC = TrialSpec(number=7, uid="007-abcdef", params={"decay": 1e-4, "name": "l1"}, config={})


def step(stage, epoch, **metrics):
    point = 0 if stage == "finetune" else None
    return Progress(stage=stage, epoch=epoch, epochs=9, metrics=metrics, time=0.0, point=point)


def result(state, error=None):
    points = [make_point(7, 0.975, 100, uid=SPEC.uid)] if state == "complete" else []
    return TrialResult(number=7, uid=SPEC.uid, params={}, state=state, points=points, error=error)


def shown(*events, terminal=False, ended=0):
    console = Console(file=io.StringIO(), force_terminal=terminal, width=120)
    front = make_front(make_point(7, 0.975, 100, uid=SPEC.uid))
    with Display(console, trials=3, get_front=lambda: front, ended=ended) as live:
        for event in events:
            live.on_event(event)
        if terminal:
            console.print(live._render())
    return console.file.getvalue()


def test_a_log_file_gets_a_line_an_event():
    lines = shown(
        Event(progress=step("pretrain", 3, val_accuracy=0.981)),
        Event(spec=SPEC),
        Event(spec=SPEC, progress=step("regularize", 1, val_accuracy=0.97)),
        Event(spec=SPEC, result=result("complete")),
        Event(spec=SPEC, result=result("failed", error="Traceback\nValueError: bad\n")),
    ).splitlines()
    assert lines[0] == "pretraining: pretrain 3/9, val 98.10%"
    assert lines[1] == "trial   7 started: decay=0.0001, name=l1"
    assert lines[2].startswith("trial   7 ended (1/3")
    assert lines[2].endswith("1 of its 1 points are on the front")
    assert lines[3].endswith("failed: ValueError: bad")
    assert len(lines) == 4, "steps of a trial are not printed"


def test_a_resumed_sweep_counts_the_trials_that_had_ended():
    last = Event(spec=SPEC, result=result("complete"))
    assert "ended (3/3): 1 of its 1" in shown(last, ended=2)
    assert "2 of 3 trials" in shown(terminal=True, ended=2)
    assert "starting Ray" in shown(terminal=True, ended=2)


def test_the_time_left_counts_the_trials_at_once(monkeypatch):
    minutes = itertools.count(0, 60)
    monkeypatch.setattr(display, "time", SimpleNamespace(monotonic=minutes.__next__))
    others = [dataclasses.replace(SPEC, uid=uid) for uid in ("008-abcdef", "009-abcdef")]
    first = [Event(spec=SPEC), Event(spec=SPEC, result=result("complete"))]
    assert "ended (1/3, 4:00 left)" in shown(*first)
    assert "1 of 3 trials, 4:00 left" in shown(*first, Event(spec=others[0]), terminal=True)
    at_once = [Event(spec=other) for other in others]
    assert "1 of 3 trials, 2:00 left" in shown(*first, *at_once, terminal=True)


def test_names_are_shown_as_they_are(capsys):
    terminal.say("at:100:x [drop] nohost:1234:")
    front = make_front(make_point(7, 0.975, 100))
    front = dataclasses.replace(front, floors={"half [drop]": 0.5, "at:100:x": 0.6})
    terminal.out.print(points_table(front))
    text = capsys.readouterr().out
    assert text.startswith("at:100:x [drop] nohost:1234:\n")
    assert all(name in text for name in front.floors)


def test_a_trial_that_starts_from_another_says_so():
    spec = dataclasses.replace(SPEC, parent="003-fedcba")
    assert shown(Event(spec=spec)).endswith("name=l1, from trial 003-fedcba\n")


def test_a_trial_that_was_stopped_early_is_shown_as_such():
    ended = Event(spec=SPEC, result=result("stopped"))
    assert "stopped early" in shown(ended).splitlines()[0]
    assert "1 stopped early" in shown(ended, terminal=True)


def test_a_terminal_shows_trials_stages_and_the_front():
    text = shown(
        Event(spec=SPEC, result=result("complete")),
        Event(spec=SPEC),
        Event(spec=SPEC, progress=step("finetune", 2, val_accuracy=0.5)),
        terminal=True,
    )
    for part in ("1 of 3 trials", "finetune #1 2/9, val 50.00%", "operating points", "10.0x"):
        assert part in text
    assert "no trial keeps it yet" in text


def test_a_terminal_says_what_happens_before_the_first_trial():
    assert "starting Ray" in shown(terminal=True)
    assert "pretrain 1/9" in shown(Event(progress=step("pretrain", 1)), terminal=True)


def test_times_are_readable():
    assert clock(59.6) == "1:00"
    assert clock(3661) == "1:01:01"
