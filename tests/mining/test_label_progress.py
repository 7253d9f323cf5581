import logging

import numpy as np
import pytest

from embedtrain.mining.label_progress import LabelProgress, duration, sparkline


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def test_what_is_left_goes_by_the_length_of_texts_and_not_by_pairs(clock):
    # Nine parts of short pairs, then one that is as much work as all of them.
    progress = LabelProgress(dict.fromkeys(range(9), 100.0) | {9: 900.0}, dict.fromkeys(range(10), 50), clock=clock)
    assert progress.seconds_left == float("inf")
    for part in range(9):
        clock.now += 2
        progress.add(part, np.full(50, 0.5))
    assert progress.pairs_done == 450
    assert progress.pairs_per_second == pytest.approx(25)
    assert progress.seconds_left == pytest.approx(18)
    assert "labelled 450 of 500 pairs, 25 pairs/s, 18 s left" in progress.line()
    clock.now += 18
    progress.add(9, np.full(50, 0.5))
    assert progress.seconds_left == 0
    assert "left" not in progress.line()


def test_lines_are_as_far_apart_as_asked_and_the_last_one_always_comes(clock, caplog):
    caplog.set_level(logging.INFO, logger="embedtrain")
    parts = dict.fromkeys(range(7), 10)
    progress = LabelProgress(dict.fromkeys(parts, 1.0), parts, log_seconds=30, clock=clock)
    for part in parts:
        clock.now += 12
        progress.add(part, [0.5] * 10)
    assert [message.split(" pairs")[0] for message in caplog.messages] == [
        "labelled 30 of 70",
        "labelled 60 of 70",
        "labelled 70 of 70",
    ]


def test_the_histogram_grows_with_every_part(clock):
    progress = LabelProgress({0: 1.0, 1: 1.0}, {0: 3, 1: 2}, clock=clock)
    progress.add(0, [0.0, 0.04, 1.0])
    progress.add(1, [-3.0, 7.0])
    assert progress.histogram[0] == 3
    assert progress.histogram[-1] == 2
    assert progress.histogram.sum() == 5
    assert progress.line().endswith("scores 0 █" + " " * 18 + "▆ 1")


def test_bars():
    assert sparkline([0, 1, 4, 8]) == " ▁▄█"
    assert sparkline([0, 1, 1000]) == " ▁█"
    assert sparkline([0, 0]) == "  "


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.4, "0 s"),
        (59, "59 s"),
        (61, "1 min 01 s"),
        (3599.6, "1 h 00 min"),
        (3600, "1 h 00 min"),
        (47 * 3600 + 90, "47 h 01 min"),
        (50 * 3600, "2 d 02 h"),
    ],
)
def test_spans_of_time(seconds, expected):
    assert duration(seconds) == expected
