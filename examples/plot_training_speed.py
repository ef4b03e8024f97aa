"""
============================
Powers and speed of training
============================

How many epochs does a network need until its test error is under a threshold? The paper
finds on MNIST that larger powers n need fewer. This example trains networks of three
powers on scikit-learn's digits, with the start and the schedule of the paper: memories
of mean -0.3, and a learning rate that falls slowly. Each power has a window of
hyperparameters of its own, and each curve is a network from that window.
"""

import warnings

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, train_test_split

from skdam import (
    DenseAssociativeMemoryClassifier,
    fit_window,
    hyperparameter_window,
)
from skdam.figures import figure_1

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(
    X / 8 - 1, y, test_size=0.4, stratify=y, random_state=0
)

# %%
# Search the windows, and train from them
# ---------------------------------------
# Each power needs temperatures of its own.

warnings.filterwarnings("ignore", category=ConvergenceWarning)

grids = {
    2: {"temperature": [12, 16, 22, 30], "error_exponent": [2, 3, 5]},
    3: {"temperature": [18, 22, 28, 36], "error_exponent": [5, 10, 20]},
    5: {"temperature": [24, 28, 33, 40], "error_exponent": [5, 10, 20]},
}
runs = {}
for power, grid in grids.items():
    clf = DenseAssociativeMemoryClassifier(
        150,
        power=power,
        batch_size=100,
        learning_rate_init=0.02,
        learning_rate="exponential",
        learning_rate_decay=0.998**59,
        momentum=0.6,
        max_iter=60,
        init=(-0.3, 0.3),
        intercept_scaling=0,
        reinit_dead=0,
        input_noise=0,
        tol=None,
        random_state=0,
    )
    search = GridSearchCV(clf, grid, cv=2, refit=False).fit(X_train, y_train)
    window = hyperparameter_window(search, within=0.01)
    print(f"n = {power}: {len(window)} in the window, {window.ranges}")
    runs[power] = fit_window(
        clf,
        window,
        X_train,
        y_train,
        X_test=X_test,
        y_test=y_test,
        n_samples=5,
        threshold=0.04,
        random_state=0,
    )

# %%
# Compare
# -------
# Two networks of each power are drawn. The arrows mark the first epochs with a test
# error under 4 %.

for power, trained in runs.items():
    first = [run.first_epoch for run in trained]
    errors = [round(100 * float(run.errors[-1]), 2) for run in trained]
    print(f"n = {power}: first epochs {first}, test errors at the end {errors} %")

figure_1({power: runs[power][:2] for power in (2, 5)})
plt.show()
