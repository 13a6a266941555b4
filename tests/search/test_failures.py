"""Which failures of a trial are final."""

from hoyer_search.errors import DataError, TrialDiverged
from hoyer_search.search.failures import is_permanent


def raised(error: Exception, cause: Exception | None = None) -> Exception:
    try:
        raise error from cause
    except Exception as caught:
        return caught


def test_divergence_and_wrong_data_are_permanent():
    assert is_permanent(raised(TrialDiverged("the loss became nan")))
    assert is_permanent(raised(DataError("inputs must be finite, got nan")))


def test_an_error_of_reading_may_pass():
    reading = raised(DataError("reading a batch raised"), OSError("stale file handle"))
    assert not is_permanent(reading)
    assert not is_permanent(raised(ValueError("no luck")))
