"""
==========
Quickstart
==========

Train a dense associative memory on scikit-learn's digits, score it on held-out data,
search a small grid for better parameters and draw some of the memories.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MinMaxScaler

from skdam import DenseAssociativeMemoryClassifier

# %%
# Train and score
# ---------------
# The features are states of neurons, so the pixels are scaled to [-1, 1] first.

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)

model = Pipeline(
    [
        ("scale", MinMaxScaler((-1, 1))),
        ("dam", DenseAssociativeMemoryClassifier(random_state=0)),
    ]
)
model.fit(X_train, y_train)
print(f"Accuracy on held-out digits: {model.score(X_test, y_test):.3f}")

# %%
# Search a grid
# -------------
# The powers of the energy and of the error have the largest effect on what the network
# learns.

search = GridSearchCV(
    model,
    {"dam__power": [2, 3, 5], "dam__error_exponent": [3, 10]},
    cv=3,
    n_jobs=2,
)
search.fit(X_train, y_train)
print(f"Best parameters: {search.best_params_}")
print(f"Accuracy with them: {search.score(X_test, y_test):.3f}")

# %%
# Draw memories
# -------------
# Each memory has one component for each pixel, in [-1, 1].

memories = search.best_estimator_["dam"].memories_
drawn = np.random.default_rng(0).choice(memories, 25, replace=False)

fig, axes = plt.subplots(5, 5, figsize=(5.6, 5), layout="constrained")
for ax, memory in zip(axes.flat, drawn, strict=True):
    image = ax.imshow(memory.reshape(8, 8), cmap="RdBu_r", vmin=-1, vmax=1)
    ax.axis("off")
fig.colorbar(image, ax=axes, shrink=0.6, ticks=[-1, 0, 1])
fig.suptitle("25 memories")

fig.savefig("digits_memories.png", dpi=150)
print("Memories drawn in digits_memories.png")
