"""
===================
skdam at one glance
===================

On the left, an associative memory completes stored images of which only the upper half
is known. On the right are memories that classifiers have learned. A small power n of
the energy learns features, which many digits share; a large one learns prototypes, each
of which is one digit.

The picture is on the front page. ``python examples/plot_overview.py overview.png``
draws it into a file.
"""

import sys

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

from skdam import DenseAssociativeMemory, DenseAssociativeMemoryClassifier
from skdam.inspection import MemoriesDisplay

X, y = load_digits(return_X_y=True)

# %%
# Recall
# ------
# Unknown pixels are NaN, and orange in the picture.

images = X[:200] > 7
cues = images.astype(float)
cues[:, 32:] = np.nan
memory = DenseAssociativeMemory(power="auto", clamp="known", random_state=0)
memory.fit(images)
recalled = memory.recall(cues)
print(
    f"Halves from which the right image is recalled: {memory.score(cues, images):.0%}"
)

# %%
# Learn
# -----
# As in the paper, there is no intercept, no noise and no new start of dead memories. A
# large power begins at a high temperature. The temperature of power 30 is chosen for
# clear prototypes, and is too high for a small error.

X = X / 8 - 1
common = {"n_memories": 200, "max_iter": 150, "tol": None, "random_state": 0}
common |= {"intercept_scaling": 0, "reinit_dead": 0, "input_noise": 0}
own = {
    2: {"temperature": 20, "init": (-0.3, 0.3), "momentum": 0.6},
    30: {"temperature": 55, "init": (0.0, 0.3), "temperature_ramp": (2, 10)},
}
networks = []
for power, parameters in own.items():
    clf = DenseAssociativeMemoryClassifier(power=power, **common | parameters)
    networks.append(clf.fit(X, y))
    print(f"Power {power}: accuracy on the training images {clf.score(X, y):.2f}")

# %%
# Draw
# ----

fig = plt.figure(figsize=(8.3, 3.3), facecolor="white", layout="constrained")
left, right = fig.subfigures(1, 2, width_ratios=[1, 1.5], wspace=0.06)
grays = plt.get_cmap("gray").with_extremes(bad="tab:orange")

left.suptitle("Recall from half an image", fontsize=12)
rows = {"cue": 2 * cues - 1, "recalled": recalled}
axes = left.subplots(len(rows), 3)
for axes_row, (name, states) in zip(axes, rows.items(), strict=True):
    for ax, number in zip(axes_row, [3, 5, 9], strict=True):
        ax.imshow(states[number].reshape(8, 8), cmap=grays, vmin=-1, vmax=1)
        ax.set(xticks=[], yticks=[])
    axes_row[0].set_ylabel(name, fontsize=10)

right.suptitle("What a classifier learns", fontsize=12)
names = ["features", "prototypes"]
axes = right.subplots(1, 2)
for ax, network, name in zip(axes, networks, names, strict=True):
    display = MemoriesDisplay.from_estimator(
        network, n_images=16, random_state=0, ax=ax
    )
    ax.set_title(f"power {network.power}: {name}", fontsize=10)
right.colorbar(display.im_, ax=axes, shrink=0.6, ticks=[-1, 0, 1])

if len(sys.argv) > 1:
    fig.savefig(sys.argv[1], dpi=200)
plt.show()
