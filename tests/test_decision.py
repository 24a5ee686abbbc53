"""The solver of the decision layer against scipy and against its own iterates."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from bounds import rounding
from scipy.optimize import minimize
from scipy.special import log_softmax
from torch import Tensor
from torch.nn.functional import cross_entropy

from p2p.decision import solve_decision_layer

pytestmark = pytest.mark.numeric

K, PER, N = 3, 2, 60
P = K * PER
OWN = torch.arange(P) // PER == torch.arange(K)[:, None]


def problem(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Start (K, P), activations (N, P) that lean towards the own class, labels (N,): not separable."""
    g = torch.Generator().manual_seed(seed)
    labels = torch.arange(N) % K
    activations = torch.rand(N, P, generator=g) * 3 + OWN[labels] * torch.rand(N, P, generator=g)
    return torch.where(OWN, 1.0, -0.5), activations, labels


def value(weight: np.ndarray, activations: Tensor, labels: Tensor, l1: float) -> float:
    """The objective in float64, without torch."""
    logits = activations.double().numpy() @ weight.T
    ce = -log_softmax(logits, axis=1)[np.arange(len(logits)), labels.numpy()].mean()
    return float(ce + l1 * np.abs(weight[~OWN.numpy()]).sum())


def reference(activations: Tensor, labels: Tensor, l1: float) -> tuple[np.ndarray, float]:
    """L-BFGS-B on own weights (free) and others split into u - v, both >= 0, where the L1 norm is smooth."""
    a, own = activations.double().numpy(), OWN.numpy()
    target = np.eye(K)[labels.numpy()]
    free, rest = int(own.sum()), int((~own).sum())

    def unpack(x: np.ndarray) -> np.ndarray:
        weight = np.zeros((K, P))
        weight[own] = x[:free]
        weight[~own] = x[free : free + rest] - x[free + rest :]
        return weight

    def smooth(x: np.ndarray) -> tuple[float, np.ndarray]:
        logs = log_softmax(a @ unpack(x).T, axis=1)
        gradient = (np.exp(logs) - target).T @ a / len(a)
        ce = -(logs * target).sum() / len(a)
        return ce + l1 * x[free:].sum(), np.concatenate([gradient[own], gradient[~own] + l1, -gradient[~own] + l1])

    bounds = [(None, None)] * free + [(0, None)] * (2 * rest)
    options = {"maxiter": 20_000, "maxfun": 50_000, "ftol": 1e-15, "gtol": 1e-10}
    found = minimize(smooth, np.zeros(free + 2 * rest), jac=True, bounds=bounds, options=options)
    return unpack(found.x), float(found.fun)


@pytest.mark.parametrize("l1", [1e-4, 1e-2, 5e-2])
def test_minimum_agrees_with_scipy(l1):
    start, activations, labels = problem()
    weight, lowest = reference(activations, labels, l1)
    assert value(weight, activations, labels, l1) == pytest.approx(lowest, abs=1e-9)  # the reference is sound
    solved = solve_decision_layer(start, OWN, activations, labels, l1=l1, iterations=3000).double().numpy()
    reached = value(solved, activations, labels, l1)
    assert lowest - 1e-9 <= reached <= lowest + 1e-5  # what 3000 passes reach
    assert value(start.double().numpy(), activations, labels, l1) > lowest + 1e-2


def test_default_iterations_come_close_and_acceleration_helps():
    start, activations, labels = problem()
    _, lowest = reference(activations, labels, 1e-2)

    def reached(iterations: int) -> float:
        solved = solve_decision_layer(start, OWN, activations, labels, l1=1e-2, iterations=iterations)
        return value(solved.double().numpy(), activations, labels, 1e-2) - lowest

    assert reached(200) < 2e-3 < reached(5)


@pytest.mark.parametrize("iterations", [1, 2, 3, 9])
def test_iterates_are_those_of_fista(iterations):
    """Beck and Teboulle 2009, section 4, in float64 with the exact Lipschitz constant; momentum from the second on."""
    start, activations, labels = problem()
    a, target, l1 = activations.double().numpy(), np.eye(K)[labels.numpy()], 1e-2
    step = 1 / (1.02 * np.linalg.eigvalsh(a.T @ a)[-1] / (2 * N))
    x, before, t = start.double().numpy(), start.double().numpy(), 1.0
    for k in range(iterations):
        after = (1 + np.sqrt(1 + 4 * t * t)) / 2
        if k:
            y, t = x + (t - 1) / after * (x - before), after
        else:
            y = x
        moved = y - step * (np.exp(log_softmax(a @ y.T, axis=1)) - target).T @ a / N
        shrunk = np.sign(moved) * np.maximum(np.abs(moved) - step * l1, 0)
        before, x = x, np.where(OWN.numpy(), moved, shrunk)
    solved = solve_decision_layer(start, OWN, activations, labels, l1=l1, iterations=iterations)
    bound = iterations * rounding(N, float(np.abs(x).max()))  # each pass adds a sum over the images
    np.testing.assert_allclose(solved.numpy(), x, rtol=0, atol=bound)


def test_exact_zeros_and_free_own_weights():
    start, activations, labels = problem()
    some = solve_decision_layer(start, OWN, activations, labels, l1=1e-2, iterations=1000)
    assert 0 < (some[~OWN] == 0).sum() < (~OWN).sum()
    assert (some[OWN] != 0).all()
    huge = solve_decision_layer(start, OWN, activations, labels, l1=10.0, iterations=3000)
    assert (huge[~OWN] == 0).all()  # nothing but own weights is left, and they feel no penalty
    weight, lowest = reference(activations, labels, 10.0)
    assert (np.abs(weight[~OWN.numpy()]) < 1e-9).all()
    assert value(huge.double().numpy(), activations, labels, 10.0) == pytest.approx(lowest, abs=1e-5)


def test_validation_chooses_the_best_iterate():
    start, activations, labels = problem()
    _, other, truth = problem(seed=1)
    held = (other, torch.where(torch.arange(N) % 4 == 0, (truth + 1) % K, truth))
    iterates = [start] + [
        solve_decision_layer(start, OWN, activations, labels, l1=1e-4, iterations=i) for i in range(1, 61)
    ]
    scores = [cross_entropy(held[0] @ w.T, held[1]).item() for w in iterates]
    best = int(np.argmin(scores))
    assert 0 < best < 60, "the case must have its best iterate inside"
    chosen = solve_decision_layer(start, OWN, activations, labels, held, l1=1e-4, iterations=60)
    apart = [(chosen - w).abs().max().item() for w in iterates]
    found, size = int(np.argmin(apart)), chosen.abs().max().item()
    assert apart[found] <= rounding(N, size)
    assert scores[found] <= scores[best] + rounding(N * P, scores[best])  # of two that tie in float32, either
    assert not torch.allclose(chosen, iterates[-1], atol=1e-3)


def test_validation_may_keep_the_start():
    start, activations, labels = problem()
    start = solve_decision_layer(start, OWN, activations, labels, l1=0.0, iterations=3000)  # no better there is
    misled = (labels + 1) % K
    chosen = solve_decision_layer(start, OWN, activations, misled, (activations, labels), iterations=50)
    assert torch.equal(chosen, start)
    plain = solve_decision_layer(start, OWN, activations, misled, iterations=50)
    assert not torch.allclose(plain, start, atol=1e-2)


def test_the_arguments_are_left_as_they_were():
    start, activations, labels = problem()
    kept = start.clone(), activations.clone()
    solve_decision_layer(start, OWN, activations, labels, (activations, labels), iterations=3)
    assert torch.equal(start, kept[0]) and torch.equal(activations, kept[1])
