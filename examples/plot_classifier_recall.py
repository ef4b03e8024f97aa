"""
=============================
A classifier that is a memory
=============================

The network that classifies digits has an energy, and so can do more than classify. With
the known pixels of a digit held, it completes the others together with the label; with
a label held, it runs backwards and makes up a digit. In each case all that is unknown
moves to lower energy. What it arrives at shows what the memories are: features for a
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
mistakes = {}
for n, found in completed.items():
    error = abs(found.X - X_test)[hidden].mean()
    mistakes[n] = error
    print(
        f"n = {n}: {networks[n].score(X_test, y_test):.0%} of whole images classified, "
        f"{(found.y == y_test).mean():.0%} of occluded ones; pixels wrong by {error:.2f}"
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
# Completed pixels are black or white: the energy is concave, so that it is lowest at the
# ends of each pixel's range.
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
# Where does the descent end, if it starts from the images themselves with every pixel
# free? The more random changes a pattern survives, the larger is its basin. Half of all
# pixels of the test images are hidden at random here, ten times each, and the patterns
# that are recalled from the same image are compared. For small powers the patterns of
# different digits resemble each other as well: a few basins take everything. For large
# powers there are many.

rng = np.random.default_rng(0)
some = np.repeat(np.arange(40), 10)
cues = np.where(rng.random((400, 64)) < 0.5, np.nan, X_test[some])
same, other = [], []
for clf in networks.values():
    patterns = clf.recall(cues).X
    patterns = patterns - patterns.mean(axis=1, keepdims=True)
    patterns /= np.linalg.norm(patterns, axis=1, keepdims=True)
    overlap = patterns @ patterns.T
    is_same = some[:, None] == some
    is_other = y_test[some][:, None] != y_test[some]
    same.append(overlap[is_same & ~np.eye(400, dtype=bool)].mean())
    other.append(overlap[is_other].mean())

fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
left.plot(powers, same, "o-", label="from the same image")
left.plot(powers, other, "s-", label="from images of other digits")
left.set(xlabel="power n", ylabel="overlap of two results", xscale="log")
left.legend()
right.plot(powers, mistakes.values(), "o-")
right.set(xlabel="power n", ylabel="error of completed pixels", xscale="log")
for ax in (left, right):
    ax.set_xticks(powers, map(str, powers))
    ax.minorticks_off()
plt.show()

# %%
# On the way
# ----------
# In each step every unknown pixel moves by a small share of its range. The energy never
# rises.

clf = networks[20]
found = clf.recall(occluded[first], step=0.05, return_trajectory=True)
made_up = clf.recall(nothing, np.arange(10), step=0.05, return_trajectory=True)
frames = np.concatenate([found.trajectory[:, :40], made_up.trajectory[:, :40]])

fig, axes = plt.subplots(2, 10, figsize=(7.5, 1.9), layout="constrained")
pictures = [
    ax.imshow(images[0].reshape(8, 8), cmap="gray_r", vmin=-1, vmax=1)
    for ax, images in zip(axes.flat, frames, strict=True)
]
for ax in axes.flat:
    ax.set(xticks=[], yticks=[])
axes[0, 0].set_ylabel("cue")
axes[1, 0].set_ylabel("label")


def draw(step):
    for picture, images in zip(pictures, frames, strict=True):
        picture.set_data(images[step].reshape(8, 8))
    fig.suptitle(f"step {step}")
    return pictures


animation = FuncAnimation(fig, draw, frames=range(0, frames.shape[1], 2), interval=150)
plt.show()

# %%

fig, ax = plt.subplots(figsize=(5, 3.2), layout="constrained")
ax.plot(found.energies.T, color="tab:blue", alpha=0.7)
ax.set(xlabel="step", ylabel="energy")
plt.show()
