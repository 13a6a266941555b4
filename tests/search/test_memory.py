"""Which trial Ray's memory monitor is taken to have killed; the text is one of Ray 2.60."""

import pytest
from ray.exceptions import OutOfMemoryError

from hoyer_search.search.memory import hungriest, killed_for_memory

TEXT = (
    "2 worker(s) were killed due to the node running low on memory. Memory on the node (IP: "
    "127.0.0.1, ID: 1e33) was 3.29GB used / 23.54GB limit (0.139881)\nConsidered workers: [\n"
    "Selected to kill: (Actor(92815a): job ID=01000000, task name=T.__init__, required resources="
    "{CPU_group_0_17ac: 1}, pid=19860, actual memory used=0.83GB, worker ID=882a)\n"
    "Selected to kill: (Actor(9c202b): job ID=01000000, task name=T.__init__, required resources="
    "{CPU_group_0_4d05: 1}, pid=19861, actual memory used=0.11GB, worker ID=e88a)\n"
    "Not selected: (Actor(77ffaa): job ID=01000000, actual memory used=9.99GB, worker ID=e88b)\n]"
)


def wrapped(error):
    """Returns an error as Tune raises it."""
    try:
        try:
            raise error
        except Exception as cause:
            raise RuntimeError(f"Caught unexpected exception: {cause}") from cause
    except RuntimeError as outer:
        return outer


def test_the_trial_that_used_most_is_named():
    error = killed_for_memory(wrapped(OutOfMemoryError(TEXT)))
    assert error is not None
    trials = {"92815a": "000-a", "9c202b": "001-b", "77ffaa": "002-c"}
    assert hungriest(error, trials) == ("000-a", 0.83)
    assert hungriest(error, {"9c202b": "001-b"}) == ("001-b", 0.11)


@pytest.mark.parametrize("text", [TEXT.replace("Actor(", "Task("), "low on memory", ""])
def test_a_text_that_names_no_trial_names_none(text):
    assert hungriest(OutOfMemoryError(text), {"92815a": "000-a"}) is None


def test_other_errors_are_not_of_memory():
    assert killed_for_memory(wrapped(ValueError("no"))) is None
