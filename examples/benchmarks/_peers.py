"""The implementations that are compared, all trained and timed by one signature.

Each ``fit_*(parameters, X, y, seed, clock)`` trains for ``parameters["max_iter"]``
epochs, ticks the clock after each, and returns what predicts.
"""

from __future__ import annotations

from time import perf_counter
from types import SimpleNamespace

import numpy as np
from sklearn.neural_network import MLPClassifier

from skdam import DenseAssociativeMemoryClassifier

try:
    import torch
except ImportError:
    torch = None


def fit_skdam(parameters: dict, X, y, seed: int, clock):
    model = DenseAssociativeMemoryClassifier(**parameters, random_state=seed)
    return model.set_callbacks(clock).fit(X, y)


def fit_mlp(parameters: dict, X, y, seed: int, clock):
    """Train scikit-learn's network.

    partial_fit is one epoch and keeps Adam's state, where fit with warm_start would
    begin it anew; it validates the data each time.
    """
    classes = np.unique(y)
    # An instance: with a number, each partial_fit would draw the same minibatches.
    model = MLPClassifier(**parameters, random_state=np.random.RandomState(seed))
    for _ in range(model.max_iter):
        model.partial_fit(X, y, classes=classes)
        clock.tick(model)
    return model


def fit_torch(parameters: dict, X, y, seed: int, clock):
    """Train Linear, ReLU, Linear on the cross-entropy by Adam with one cycle.

    ``dropout`` among the parameters holds the shares of inputs and hidden units.
    """
    torch.manual_seed(seed)
    X, y = torch.from_numpy(X), torch.from_numpy(y)
    width, batch_size = parameters["hidden_units"], parameters["batch_size"]
    layers = [torch.nn.Linear(X.shape[1], width), torch.nn.ReLU()]
    layers += [torch.nn.Linear(width, int(y.max()) + 1)]
    if dropout := parameters.get("dropout"):
        of_inputs, of_hidden = map(torch.nn.Dropout, dropout)
        layers = [of_inputs, *layers[:2], of_hidden, layers[2]]
    network = torch.nn.Sequential(*layers)
    optimizer = torch.optim.Adam(network.parameters(), fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        parameters["max_lr"],
        epochs=parameters["max_iter"],
        steps_per_epoch=-(-len(X) // batch_size),
    )

    @torch.no_grad()
    def predict(X):
        network.eval()
        parts = torch.from_numpy(X).split(batch_size)
        return torch.cat([network(part).argmax(dim=1) for part in parts]).numpy()

    model = SimpleNamespace(predict=predict)
    for _ in range(parameters["max_iter"]):
        network.train()
        for rows in torch.randperm(len(X)).split(batch_size):
            loss = torch.nn.functional.cross_entropy(network(X[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        clock.tick(model)
    return model


def tiled_seconds(parameters: dict, temperature: float, X, y, n_steps: int) -> float:
    """Return the seconds of an epoch of tiled steps, extrapolated from a few."""
    batch_size = parameters["batch_size"]
    n_classes = int(y.max()) + 1
    shape = (parameters["n_memories"], X.shape[1] + n_classes)
    memories = np.random.default_rng(0).normal(*parameters["init"], shape)
    velocity = np.zeros(shape)
    begin = perf_counter()
    for start in range(0, n_steps * batch_size, batch_size):
        rows = slice(start, start + batch_size)
        tiled_step(
            memories,
            velocity,
            X[rows].astype(np.float64),
            2 * np.eye(n_classes)[y[rows]] - 1,
            power=parameters["power"],
            temperature=temperature,
            error_exponent=parameters["error_exponent"],
            learning_rate=parameters["learning_rate_init"],
            momentum=parameters["momentum"],
        )
    return (perf_counter() - begin) * len(X) / (n_steps * batch_size)


def tiled_step(
    memories: np.ndarray,
    velocity: np.ndarray,
    visible: np.ndarray,
    targets: np.ndarray,
    *,
    power: float,
    temperature: float,
    error_exponent: float,
    learning_rate: float,
    momentum: float,
) -> None:
    """Take one step of the paper's rule as it is written, in place.

    Every image appears once for each class, with that classification unit flipped up.
    The state with all units down is the same for each class and appears once.
    """
    n_samples, n_classes = targets.shape
    down = np.hstack([visible, -np.ones_like(targets)])
    up = np.tile(down, (n_classes, 1))
    for alpha in range(n_classes):
        up[alpha * n_samples : (alpha + 1) * n_samples, visible.shape[1] + alpha] = 1
    beta = temperature**-power
    overlaps_up = np.maximum(up @ memories.T, 0)
    overlaps_down = np.maximum(down @ memories.T, 0)
    energy_up = (overlaps_up**power).sum(axis=1).reshape(n_classes, n_samples).T
    energy_down = (overlaps_down**power).sum(axis=1)
    outputs = np.tanh(beta * (energy_up - energy_down[:, None]))

    errors = (outputs - targets) ** (2 * error_exponent - 1)
    delta = 2 * error_exponent * errors * (1 - outputs**2) * beta * power
    slopes_up = overlaps_up ** (power - 1) * delta.T.reshape(-1, 1)
    slopes_down = overlaps_down ** (power - 1) * delta.sum(axis=1)[:, None]
    gradient = slopes_up.T @ up - slopes_down.T @ down

    velocity *= momentum
    velocity -= gradient
    largest = np.abs(velocity).max(axis=1, keepdims=True)
    memories += learning_rate * velocity / np.maximum(largest, 1e-300)
    np.clip(memories, -1, 1, out=memories)
