import numpy as np
import pytest
from scipy.optimize import approx_fprime
from scipy.stats import multivariate_normal

from hoyer_search.search import gaussian_process
from hoyer_search.search.gaussian_process import GaussianProcess

NUMERIC = np.zeros(1, dtype=bool)


def sines(n=9, noise=0.0, seed=0):
    rng = np.random.default_rng(seed)
    x = np.linspace(0, 1, n)[:, None]
    y = np.concatenate([np.sin(5 * x), 100 + 20 * np.cos(5 * x)], axis=1)
    return x, y + noise * rng.standard_normal(y.shape)


def test_likelihood_and_gradient():
    rng = np.random.default_rng(0)
    x = rng.random((12, 3))
    x[:, 2] = rng.integers(0, 3, 12)
    y, known = rng.standard_normal((12, 2)), 0.1 * rng.random((12, 2))
    distances = gaussian_process._distances(x, x, np.array([False, False, True]))
    theta = np.log([0.4, 0.7, 0.5, 1.1, 0.05])

    def loss(t):
        return gaussian_process._negative_log_likelihood(t, distances, y, known)

    signal = gaussian_process._covariance(theta, distances)
    covariances = [signal + np.diag(k + 0.05 + gaussian_process.JITTER) for k in known.T]
    expected = -sum(
        multivariate_normal(np.zeros(12), c).logpdf(column)
        for c, column in zip(covariances, y.T, strict=True)
    )
    value, gradient = loss(theta)
    assert value + 12 * np.log(2 * np.pi) == pytest.approx(expected)
    assert gradient == pytest.approx(approx_fprime(theta, lambda t: loss(t)[0], 1e-6), rel=1e-4)


def test_outputs_are_interpolated_in_their_own_units():
    x, y = sines()
    model = GaussianProcess.fit(x, y, np.zeros_like(y), categorical=NUMERIC)
    between = np.array([[0.3], [0.55], [0.8]])
    mean, std = model.posterior(between)
    truth = np.concatenate([np.sin(5 * between), 100 + 20 * np.cos(5 * between)], axis=1)
    assert mean == pytest.approx(truth, abs=0.1, rel=0.01)
    assert std[:, 1] == pytest.approx(std[:, 0] * 20, rel=0.5)


def test_an_observation_of_large_known_error_counts_little():
    x, y = sines()
    wrong, variances = y.copy(), np.zeros_like(y)
    wrong[4] += 3 * y.std(axis=0)
    variances[4] = 100 * y.var(axis=0)
    mean, std = GaussianProcess.fit(x, wrong, variances, categorical=NUMERIC).posterior(x)
    assert mean[4] == pytest.approx(y[4], abs=0.2 * y.std(axis=0).max())
    assert std[4, 0] > std[3, 0]


def test_what_is_believed_narrows_the_model_and_keeps_its_mean():
    x, y = sines(5)
    model = GaussianProcess.fit(x, y, np.zeros_like(y), categorical=NUMERIC)
    pending, elsewhere = np.array([[0.6]]), np.array([[0.1], [0.62], [0.9]])
    believing = model.believe(pending)
    before, after = model.posterior(elsewhere), believing.posterior(elsewhere)
    assert after[0] == pytest.approx(before[0], rel=1e-3, abs=1e-3)
    assert (after[1] <= before[1] + 1e-9).all()
    assert (after[1][1] < 0.7 * before[1][1]).all()


def test_an_edge_is_no_less_certain_than_a_little_inside():
    x, y = sines(3, noise=0.1)
    model = GaussianProcess.fit(0.3 + 0.4 * x, y, np.zeros_like(y), categorical=NUMERIC)
    edge, inside = np.array([[0.0], [1.0]]), np.array([[0.1], [0.9]])
    assert (model.posterior(edge)[1] > 1.01 * model.posterior(inside)[1]).all()
    mean, std = model.predictive(edge)
    assert mean == pytest.approx(model.posterior(edge)[0])
    assert std == pytest.approx(model.predictive(inside)[1])


def test_a_choice_has_no_edge():
    x, y = np.array([[0.0], [0.0], [1.0], [2.0]]), np.array([[0.0], [0.5], [5.0], [1.0]])
    model = GaussianProcess.fit(x, y, np.zeros_like(y), categorical=np.array([True]))
    mean, std = model.predictive(x)
    assert mean == pytest.approx(model.posterior(x)[0])
    assert std[0] < std[2]


def test_choices_do_not_depend_on_the_order_of_their_indices():
    x = np.array([[0.0], [1.0], [2.0]] * 3)
    y = np.array([[0.0], [5.0], [1.0]] * 3)
    model = GaussianProcess.fit(x, y, np.zeros_like(y), categorical=np.array([True]))
    swapped = GaussianProcess.fit(2 - x, y, np.zeros_like(y), categorical=np.array([True]))
    assert model.posterior(x)[0] == pytest.approx(swapped.posterior(2 - x)[0])


@pytest.mark.parametrize("n", [1, 4])
def test_equal_or_single_observations_are_no_trouble(n):
    x, y = np.full((n, 1), 0.3), np.full((n, 2), 7.0)
    model = GaussianProcess.fit(x, y, np.zeros_like(y), categorical=NUMERIC)
    mean, std = model.posterior(np.array([[0.3], [0.9]]))
    assert mean == pytest.approx(np.full((2, 2), 7.0))
    assert np.isfinite(std).all()
