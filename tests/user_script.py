"""What a user writes: type checkers should find nothing to complain about."""

# ruff: noqa: F841

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

import skdam
from skdam import (
    ContinuousAssociativeMemory,
    DenseAssociativeMemory,
    DenseAssociativeMemoryClassifier,
    hyperparameter_window,
    make_tabular_classifier,
    preset,
)
from skdam.capacity import max_memories, simulate_recall
from skdam.energies import LogCosh
from skdam.inspection import MemoriesDisplay, recognition_units


def main() -> None:
    X, y = load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)

    clf = DenseAssociativeMemoryClassifier(20, power=2, max_iter=5, random_state=0)
    labels: NDArray[np.generic] = clf.fit(X_train, y_train).predict(X_test)
    accuracy: float = clf.score(X_test, y_test)
    memories: NDArray[np.floating] = clf.memories_
    epochs: int = clf.n_iter_
    best_loss: float = min(clf.loss_curve_)
    temperature: float = clf.network_.temperature
    smooth = DenseAssociativeMemoryClassifier(energy=LogCosh(), init=(0.0, 0.3))
    pipeline = make_pipeline(MinMaxScaler((-1, 1)), smooth).fit(X_train, y_train)
    paper = DenseAssociativeMemoryClassifier(**preset("krotov-hopfield-2016", power=3))

    search = GridSearchCV(clf, {"power": [2, 3]}, cv=2).fit(X_train, y_train)
    window = hyperparameter_window(search, within=0.01)
    best: dict[str, object] = window.params[0]
    votes: NDArray[np.integer] = recognition_units(clf)
    display = MemoriesDisplay.from_estimator(clf, n_images=9)

    patterns = X[:50] > 7
    memory = DenseAssociativeMemory(power=30, clamp="known").fit(patterns)
    cues = patterns.astype(float)
    cues[:, 32:] = np.nan
    recalled: NDArray[np.floating] = memory.recall(cues)
    states, energies = memory.recall(cues, return_trajectory=True)
    lowest: float = float(energies.min())
    nearest, overlaps = memory.overlap(cues)
    vectors = ContinuousAssociativeMemory().fit(X[:50])
    completed: NDArray[np.floating] = vectors.recall(np.where(X < 1, np.nan, X))
    limit: float = max_memories(100, power=3)
    share: float = float(simulate_recall(20, 10, n_trials=5).recovered.mean())
    table = make_tabular_classifier(random_state=0)

    print(
        f"skdam {skdam.__version__}: {accuracy:.2f}, {memory.score(cues, patterns):.2f}"
    )


if __name__ == "__main__":
    main()
