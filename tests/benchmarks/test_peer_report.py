"""What the comparison with the peer reads off the networks of both sides."""

import math
from pathlib import Path

import peer_report
import pytest
from peer_report import Network, Side, Task

TASK = Task(dense_accuracy=0.98, dense_nonzeros=1024, drops={"A": 0.0, "D": 0.02}, seconds=100.0)


def network(seconds: float, accuracy: float, nonzeros: int) -> Network:
    return Network(
        seconds=seconds, val_accuracy=accuracy, test_accuracy=accuracy, nonzeros=nonzeros
    )


def test_what_came_too_late_does_not_count() -> None:
    side = Side(TASK, [network(101, 0.99, 1), network(100, 0.98, 512)])
    assert [n.nonzeros for n in side.networks] == [512]


def test_best_keeps_the_floor_and_is_the_sparsest() -> None:
    side = Side(TASK, [network(1, 0.98, 600), network(2, 0.979, 200), network(3, 0.981, 500)])
    best = side.best(0.98)
    assert best is not None
    assert best.nonzeros == 500
    assert side.best(0.99) is None


def test_best_over_time_has_a_step_for_each_improvement() -> None:
    side = Side(
        TASK,
        [
            network(5, 0.98, 600),
            network(1, 0.97, 100),
            network(7, 0.98, 700),
            network(9, 0.98, 300),
        ],
    )
    assert side.best_over_time(0.98) == [(5, 600), (9, 300)]
    assert side.best_over_time(0.96) == [(1, 100)]


def test_hypervolume_grows_by_the_area_above_the_loosest_floor() -> None:
    side = Side(TASK, [network(1, 0.97, 256), network(2, 0.95, 1), network(3, 0.98, 512)])
    # 0.01 of accuracy above the floor of 0.96 at two doublings, then 0.01 more at one
    expected = [(1, 0.02), (2, 0.02), (3, 0.03)]
    for (seconds, area), (at, wanted) in zip(side.hypervolume_over_time(), expected, strict=True):
        assert seconds == at
        assert math.isclose(area, wanted)
    assert side.seconds_to(0.025) == 3
    assert side.seconds_to(0.04) is None


def test_verdicts_of_a_clear_win_and_of_its_mirror() -> None:
    slow = Side(TASK, [network(40, 0.98, 600), network(80, 0.96, 300)])
    fast = Side(TASK, [network(8, 0.981, 390), network(9, 0.97, 200)])
    won = peer_report.summarise(TASK, slow, fast)
    assert won["seconds_to_peers_hypervolume"] == 8
    assert won["share_of_time"] == 0.08
    assert won["points"]["A"]["ratio"] == 0.65
    assert all(won["verdicts"].values())
    lost = peer_report.summarise(TASK, fast, slow)
    assert lost["share_of_time"] is None
    assert not any(lost["verdicts"].values())


def test_an_operating_point_that_only_the_peer_reaches_is_lost() -> None:
    peer = Side(TASK, [network(50, 0.98, 600)])
    ours = Side(TASK, [network(5, 0.97, 10)])
    summary = peer_report.summarise(TASK, peer, ours)
    assert summary["points"]["A"]["ratio"] is None
    assert list(summary["verdicts"].values()) == [True, False, False]
    assert "-" in peer_report.table(summary)


@pytest.mark.parametrize("networks", [[], [network(5, 0.98, 600), network(9, 0.97, 100)]])
def test_plot_is_drawn_also_of_a_side_that_found_nothing(
    networks: list[Network], tmp_path: Path
) -> None:
    sides = {"peer": Side(TASK, networks), "ours": Side(TASK, [])}
    peer_report.plot(tmp_path / "plot.png", TASK, sides)
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
