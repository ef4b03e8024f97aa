"""
=============================
A classifier that is a memory
=============================

The network that classifies digits has an energy, and so can do more than classify. With
the known pixels of a digit held, it completes the others together with the label; with
a label held, it runs backwards and makes up a digit. In each case all unknown
neurons move to lower energy. Where they end shows what the memories are: features for a
small power n of the interaction vertex, prototypes for a large one.
"""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.animation import FuncAnimation
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from skdam import DenseAssociativeMemoryClassifier

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(
    X / 8 - 1, y, test_size=0.3, stratify=y, random_state=0
)
powers = [2, 3, 5, 10, 20, 30]
networks = {
    n: DenseAssociativeMemoryClassifier(power=n, random_state=0).fit(X_train, y_train)
    for n in powers
}

# %%
# Occluded digits
# ---------------
# Unknown pixels are NaN. The lowest quarter of each image is hidden. All networks
# classify nearly as well, but not all complete what they see: the memories of small
# powers are features, and many of them together have minima that resemble no digit.

occluded = X_test.copy()
occluded[:, 48:] = np.nan
hidden = np.isnan(occluded)
completed = {n: clf.recall(occluded) for n, clf in networks.items()}
for n, found in completed.items():
    error = abs(found.X - X_test)[hidden].mean()
    print(
        f"n = {n}: {networks[n].score(X_test, y_test):.0%} of whole images right, "
        f"{(found.y == y_test).mean():.0%} of occluded ones; pixels off by {error:.2f}"
    )

# %%


def show(rows, n_columns, title, row_labels):
    """Draw rows of digits."""
    size = (0.75 * n_columns + 1, 0.75 * len(rows) + 0.6)
    fig, axes = plt.subplots(len(rows), n_columns, figsize=size, layout="constrained")
    grays = plt.get_cmap("gray_r").with_extremes(bad="tab:blue")
    for axes_row, images, label in zip(axes, rows, row_labels, strict=True):
        for ax, image in zip(axes_row, images, strict=True):
            ax.imshow(image.reshape(8, 8), cmap=grays, vmin=-1, vmax=1)
            ax.set(xticks=[], yticks=[])
        axes_row[0].set_ylabel(label, rotation=0, ha="right", va="center")
    fig.suptitle(title)


first = [np.flatnonzero(y_test == digit)[0] for digit in range(10)]
show(
    [X_test[first], occluded[first], *(found.X[first] for found in completed.values())],
    10,
    "Completed with their labels (unknown pixels in blue)",
    ["digit", "cue", *(f"n = {n}" for n in powers)],
)

# %%
# Completed pixels are black or white: the energy is concave, so that it is lowest at
# the ends of each pixel's range.
#
# From a label to a digit
# -----------------------
# With all pixels unknown and the label held, the network runs backwards.

nothing = np.full((10, 64), np.nan)
backwards = {n: clf.recall(nothing, np.arange(10)) for n, clf in networks.items()}
for n, found in backwards.items():
    agree = networks[30].predict(found.X) == np.arange(10)
    print(f"n = {n}: {agree.sum()} of 10 are such a digit to the network of n = 30")
show(
    [found.X for found in backwards.values()],
    10,
    "From a label alone",
    [f"n = {n}" for n in powers],
)

# %%
# Basins
# ------
# How much of a digit may be unknown until it is lost? Here, more and more pixels are
# hidden at random. A digit is found if the descent ends with its label, and the pixels
# that it ends with are compared with those that were hidden. The label is found from
# about as many pixels by all networks but that of n = 2, whose basins are smaller; what
# the hidden pixels become is nearer to the digit, the larger n is.

rng = np.random.default_rng(0)
shares = [0.2, 0.4, 0.6, 0.8, 0.9, 0.95]
order = rng.random(X_test.shape)
fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
for n, clf in networks.items():
    right_labels, errors = [], []
    for share in shares:
        found = clf.recall(np.where(order < share, np.nan, X_test))
        right_labels.append((found.y == y_test).mean())
        errors.append(abs(found.X - X_test)[order < share].mean())
    print(f"n = {n}:", *(f"{label:.0%}" for label in right_labels))
    color = plt.get_cmap("viridis")(powers.index(n) / len(powers))
    left.plot(shares, right_labels, "o-", color=color, label=f"n = {n}")
    right.plot(shares, errors, "o-", color=color)
left.set(xlabel="share of hidden pixels", ylabel="labels found")
right.set(xlabel="share of hidden pixels", ylabel="error of hidden pixels")
left.legend()
plt.show()

# %%
# On the way
# ----------
# In each step every unknown pixel moves by a small share of its range. The energy never
# rises.

clf = networks[20]
found = clf.recall(occluded[first], step=0.05, return_trajectory=True)
made_up = clf.recall(nothing, np.arange(10), step=0.05, return_trajectory=True)
frames = []
for step in range(0, 30, 2):
    paths = found.trajectory, made_up.trajectory
    # Those that have arrived stay.
    now = [path[:, min(step, path.shape[1] - 1)] for path in paths]
    frames.append(np.concatenate(now))

fig, axes = plt.subplots(2, 10, figsize=(7.5, 1.9), layout="constrained")
pictures = [
    ax.imshow(image.reshape(8, 8), cmap="gray_r", vmin=-1, vmax=1)
    for ax, image in zip(axes.flat, frames[0], strict=True)
]
for ax in axes.flat:
    ax.set(xticks=[], yticks=[])
axes[0, 0].set_ylabel("cue")
axes[1, 0].set_ylabel("label")


def draw(number):
    for picture, image in zip(pictures, frames[number], strict=True):
        picture.set_data(image.reshape(8, 8))
    fig.suptitle(f"step {2 * number}")
    return pictures


animation = FuncAnimation(fig, draw, frames=len(frames), interval=200)
plt.show()

# %%

fig, ax = plt.subplots(figsize=(5, 3.2), layout="constrained")
ax.plot(found.energies.T, color="tab:blue", alpha=0.7)
ax.set(xlabel="step", ylabel="energy")
plt.show()
