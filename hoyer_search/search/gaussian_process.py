"""Gaussian processes of several outputs that share their smoothness; numpy and scipy only.

The outputs (operating points) vary alike over the inputs, so one set of lengths serves them all:
with ten trials of four outputs there are forty numbers to learn it from. Known errors of single
observations are kept, which Optuna's and most other small Gaussian processes cannot.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

LENGTH = (0.35, 0.7)
"""Median of the length scales' prior in one dimension, and the deviation of its logarithm."""
SIGNAL = (1.0, 0.5)
"""The same of the signal's variance, the outputs being standardized."""
NOISE = (0.02, 1.2)
"""The same of the noise's variance, beyond the known errors."""
JITTER = 1e-6
"""Added to every variance, for numerical stability."""
INSIDE = 0.1
"""Part of a range at either end over which a prediction grows no less certain. A process knows
least near edges, with nothing beyond them, and in four dimensions nearly all of the cube is near
one: expected improvement would try little else."""


@dataclass(frozen=True, slots=True)
class GaussianProcess:
    """A fitted model; outputs are in their own units.

    Attributes:
        inputs: Where it was observed, shape (n, d).
        outputs: What was observed, shape (n, k).
        variances: Known variance of each observation, shape (n, k).
        categorical: Which inputs are either equal or not, shape (d,).
        theta: Logarithms of d length scales, of the signal's and of the noise's variance.
        center: Mean of each output, shape (k,).
        scale: Standard deviation of each output, shape (k,).
        halves: Inverses of the covariances' Cholesky factors, shape (k, n, n).
        weights: Covariance inverse times standardized outputs, shape (k, n).
    """

    inputs: Floats
    outputs: Floats
    variances: Floats
    categorical: Flags
    theta: Floats
    center: Floats
    scale: Floats
    halves: Floats
    weights: Floats

    @classmethod
    def fit(cls, inputs: Floats, outputs: Floats, variances: Floats, *, categorical: Flags) -> Self:
        """Returns the process of the most probable parameters.

        Args:
            inputs: Shape (n, d), n >= 1, numbers in [0, 1], or the index of a choice.
            outputs: Shape (n, k), finite.
            variances: Known variance of each output, shape (n, k).
            categorical: Which inputs are indices of choices, shape (d,).
        """
        center = outputs.mean(axis=0)
        scale = np.maximum(outputs.std(axis=0), 1e-9)
        distances = _distances(inputs, inputs, categorical)
        median, deviation = _prior(inputs.shape[1])
        standard, known = (outputs - center) / scale, variances / scale**2

        def loss(theta: Floats) -> tuple[float, Floats]:
            value, gradient = _negative_log_likelihood(theta, distances, standard, known)
            off = (theta - median) / deviation
            return value + 0.5 * float(off @ off), gradient + off / deviation

        best = minimize(  # type: ignore[no-untyped-call]
            loss,
            median,
            jac=True,
            method="L-BFGS-B",
            bounds=[(m - 4 * s, m + 4 * s) for m, s in zip(median, deviation, strict=True)],
            options={"maxiter": 40, "ftol": 1e-5},
        )
        return cls._of(inputs, outputs, variances, categorical, best.x, center, scale)

    def believe(self, inputs: Floats) -> Self:
        """Returns the process as if its means had been observed at further inputs, shape (m, d).

        Means stay, variances shrink there: what is being tried already is worth less.
        """
        mean, _ = self.posterior(inputs)
        return self._of(
            np.concatenate([self.inputs, inputs]),
            np.concatenate([self.outputs, mean]),
            np.concatenate([self.variances, np.zeros_like(mean)]),
            self.categorical,
            self.theta,
            self.center,
            self.scale,
        )

    def posterior(self, inputs: Floats) -> tuple[Floats, Floats]:
        """Returns means and standard deviations without noise, shape (m, k) each.

        Args:
            inputs: Shape (m, d).
        """
        cross = self._cross(inputs)
        return self._mean(cross), self._std(cross)

    def predictive(self, inputs: Floats) -> tuple[Floats, Floats]:
        """Returns means and standard deviations of new observations, noise included.

        What is near an edge counts as no less certain than what is a little inside (``INSIDE``).

        Args:
            inputs: Shape (m, d).
        """
        inside = np.where(self.categorical, inputs, np.clip(inputs, INSIDE, 1 - INSIDE))
        std = self._std(self._cross(inside))
        noise = np.exp(self.theta[-1]) * self.scale**2
        return self._mean(self._cross(inputs)), np.sqrt(std**2 + noise)

    def _cross(self, inputs: Floats) -> Floats:
        """Returns covariances with the observations, shape (m, n)."""
        return _covariance(self.theta, _distances(inputs, self.inputs, self.categorical))

    def _mean(self, cross: Floats) -> Floats:
        return np.asarray(self.center + self.scale * (cross @ self.weights.T))

    def _std(self, cross: Floats) -> Floats:
        explained = np.sum((self.halves @ cross.T) ** 2, axis=1).T
        left = np.maximum(np.exp(self.theta[-2]) - explained, 1e-12)
        return np.asarray(self.scale * np.sqrt(left))

    @classmethod
    def _of(
        cls,
        inputs: Floats,
        outputs: Floats,
        variances: Floats,
        categorical: Flags,
        theta: Floats,
        center: Floats,
        scale: Floats,
    ) -> Self:
        signal = _covariance(theta, _distances(inputs, inputs, categorical))
        halves, _ = _halves(signal, variances / scale**2 + np.exp(theta[-1]))
        weights = _solve(halves, (outputs - center) / scale)
        return cls(inputs, outputs, variances, categorical, theta, center, scale, halves, weights)


def _negative_log_likelihood(
    theta: Floats, distances: Floats, outputs: Floats, known: Floats
) -> tuple[float, Floats]:
    """Returns minus the log marginal likelihood of all outputs and its gradient.

    Rasmussen and Williams, Gaussian Processes for Machine Learning, Equations 5.8 and 5.9.
    """
    signal = _covariance(theta, distances)
    noise = np.exp(theta[-1])
    halves, log_determinants = _halves(signal, known + noise)
    weights = _solve(halves, outputs)
    value = 0.5 * float(np.sum(weights * outputs.T) + log_determinants.sum())
    # Inverses less the weights' outer products, summed over the outputs, which share derivatives.
    stacked = halves.reshape(-1, len(outputs))
    inner = stacked.T @ stacked - weights.T @ weights
    gradient = np.empty_like(theta)
    gradient[:-2] = np.tensordot(_sensitivity(theta, distances), inner, axes=2)
    gradient[-2] = np.sum(inner * signal)
    gradient[-1] = noise * np.trace(inner)
    return value, 0.5 * gradient


def _covariance(theta: Floats, distances: Floats) -> Floats:
    """Returns Matern 5/2 covariances of squared distances by dimension, shape (d, n, m)."""
    r = np.sqrt(5 * np.tensordot(np.exp(-2 * theta[:-2]), distances, axes=1))
    return np.asarray(np.exp(theta[-2] - r) * (1 + r + r**2 / 3))


def _sensitivity(theta: Floats, distances: Floats) -> Floats:
    """Returns the derivatives of ``_covariance`` by the log length scales, shape (d, n, m)."""
    weights = np.exp(-2 * theta[:-2])
    r = np.sqrt(5 * np.tensordot(weights, distances, axes=1))
    outer = np.exp(theta[-2] - r) * (1 + r) * (5 / 3)
    return np.asarray(weights[:, None, None] * distances * outer)


def _halves(signal: Floats, noise: Floats) -> tuple[Floats, Floats]:
    """Returns inverse Cholesky factors and log determinants of covariances with noise (n, k)."""
    covariances = signal + (noise.T + JITTER)[:, :, None] * np.eye(len(signal))
    factors = np.linalg.cholesky(covariances)
    diagonals = np.diagonal(factors, axis1=1, axis2=2)
    return np.linalg.inv(factors), 2 * np.log(diagonals).sum(axis=1)


def _solve(halves: Floats, outputs: Floats) -> Floats:
    """Returns the inverse covariances times outputs (n, k), shape (k, n)."""
    half = halves @ outputs.T[:, :, None]
    return np.asarray((half.transpose(0, 2, 1) @ halves)[:, 0, :])


def _distances(a: Floats, b: Floats, categorical: Flags) -> Floats:
    """Returns squared differences by dimension, shape (d, n, m); 0 or 1 for choices."""
    off = a.T[:, :, None] - b.T[:, None, :]
    off[categorical] = off[categorical] != 0
    return np.asarray(off**2)


def _prior(dimensions: int) -> tuple[Floats, Floats]:
    """Returns median and deviation of theta; distances grow with the root of the dimensions."""
    lengths = [(LENGTH[0] * np.sqrt(dimensions), LENGTH[1])] * dimensions
    median, deviation = np.array([*lengths, SIGNAL, NOISE]).T
    return np.log(median), deviation
