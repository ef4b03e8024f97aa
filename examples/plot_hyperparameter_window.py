"""
=======================
A hyperparameter window
=======================

A search returns the best candidate, but the next best often differ from it by less than
the validation data can resolve. Krotov and Hopfield therefore report a *window*: all
candidates with a validation error under a threshold, and the test errors of networks
that are trained with parameters from it.
"""

import warnings

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MinMaxScaler

from skdam import (
    DenseAssociativeMemoryClassifier,
    fit_window,
    hyperparameter_window,
)
from skdam.inspection import LearningCurvesDisplay, WindowDisplay

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(
    X, y, test_size=0.4, stratify=y, random_state=0
)

# %%
# Search
# ------
# The temperature T and the power m of the error are searched together: T decides how
# strongly the classification units are driven, and m how strongly they have to be. Some
# candidates are not meant to learn, so warnings are ignored.

warnings.filterwarnings("ignore", category=ConvergenceWarning)

model = Pipeline(
    [
        ("scale", MinMaxScaler((-1, 1))),
        (
            "dam",
            DenseAssociativeMemoryClassifier(
                100, power=3, max_iter=30, tol=None, random_state=0
            ),
        ),
    ]
)
search = GridSearchCV(
    model,
    {
        "dam__temperature": [4, 6, 9, 13, 20, 30],
        "dam__error_exponent": [1, 3, 10, 30],
    },
    cv=3,
    refit=False,
).fit(X_train, y_train)

# %%
# The window
# ----------
# Candidates are in the window if their error is at most 1 % above the smallest.

window = hyperparameter_window(search, within=0.01)
print(f"{len(window)} of {len(window.candidates)} candidates are in the window.")
for name, (low, high) in window.ranges.items():
    print(f"{name}: {low} to {high}")

WindowDisplay.from_window(window, "dam__temperature", "dam__error_exponent", vmax=10)
plt.show()

# %%
# Networks from the window
# ------------------------
# Each network is trained on all of the training data and scored on the test data after
# each epoch. The arrows mark the first epochs with a test error under 4 %.

runs = fit_window(
    model,
    window,
    X_train,
    y_train,
    X_test=X_test,
    y_test=y_test,
    n_samples=4,
    threshold=0.04,
    random_state=0,
)
for run in runs:
    print(f"{run.params}: {100 * run.errors[-1]:.2f} % test error")

LearningCurvesDisplay.from_runs(runs)
plt.show()
