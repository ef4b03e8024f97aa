"""
============================
Digits from half of an image
============================

A dense associative memory stores 200 images of handwritten digits, of 64 pixels each,
and completes them when only the upper half is known. Images resemble each other much
more than random patterns do, so that only a large power can tell them apart.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.animation import FuncAnimation
from sklearn.datasets import load_digits

from skdam import DenseAssociativeMemory

images = load_digits().data[:200] > 7
grays = plt.get_cmap("gray").with_extremes(bad="tab:orange")

# %%
# Cues
# ----
# Unknown pixels are NaN. With ``clamp="known"`` recall does not change the others.
# ``fit`` warns if a power is too small to keep the stored images, which is the subject
# here: small powers mix many memories. ``power="auto"`` chooses one that keeps as many
# of the stored images as possible.

warnings.filterwarnings("ignore", "Not all stored patterns")

cues = images.astype(float)
cues[:, 32:] = np.nan

powers = [3, 10, 30]
recalled = {}
for power in powers:
    memory = DenseAssociativeMemory(power, clamp="known", random_state=0).fit(images)
    recalled[power] = memory.recall(cues)
    _, overlap = memory.overlap(recalled[power])
    print(
        f"n = {power}: {(overlap == 1).mean():.0%} of the results are stored images, "
        f"{memory.score(cues, images):.0%} the right one"
    )

# %%
# No power can tell apart two stored images with the same upper half. Unknown pixels are
# orange.

shown = range(10)
rows = {"stored": 2.0 * images - 1, "cue": 2 * cues - 1}
rows |= {f"n = {power}": recalled[power] for power in powers}

fig, axes = plt.subplots(
    len(rows), len(shown), figsize=(8.3, 4.2), layout="constrained"
)
for axes_row, (name, states) in zip(axes, rows.items(), strict=True):
    for ax, number in zip(axes_row, shown, strict=True):
        ax.imshow(states[number].reshape(8, 8), cmap=grays, vmin=-1, vmax=1)
        ax.set(xticks=[], yticks=[])
    axes_row[0].set_ylabel(name)

# %%
# Pixel by pixel
# --------------
# Recall decides about one unknown pixel after the other: each takes the state of lower
# energy, given all pixels that are known by then. Here the pixels take their turns in
# the order of the image.

memory = DenseAssociativeMemory(30, temperature=64.0, random_state=0).fit(images)
states = 2 * cues[[3, 5, 9]] - 1
steps = [states.copy()]
for pixel in range(32, 64):
    # An unknown pixel contributes nothing to an overlap, as 0 does.
    on, off = np.nan_to_num(states), np.nan_to_num(states)
    on[:, pixel], off[:, pixel] = 1, -1
    overlaps = [state @ memory.memories_.T / 64 for state in (on, off)]
    lower, upper = (-(np.maximum(x, 0) ** 30) for x in overlaps)
    states[:, pixel] = np.where(lower.sum(axis=1) < upper.sum(axis=1), 1, -1)
    steps.append(states.copy())

fig, axes = plt.subplots(1, 3, figsize=(4.5, 1.7), layout="constrained")
drawn = [ax.imshow(np.zeros((8, 8)), cmap=grays, vmin=-1, vmax=1) for ax in axes]
for ax in axes:
    ax.set(xticks=[], yticks=[])


def draw(step):
    for picture, state in zip(drawn, steps[step], strict=True):
        picture.set_data(state.reshape(8, 8))
    return drawn


animation = FuncAnimation(fig, draw, frames=range(0, 33, 2), interval=200)

# %%
# Recall lowers the energy
# ------------------------
# If recall starts at noisy images, with all pixels free, the energy falls in each sweep
# until nothing changes. The temperature of 64 measures overlaps in units of all 64
# neurons, so that a stored image contributes -1 to the energy.

rng = np.random.default_rng(0)
noisy = np.where(rng.random(images.shape) < 0.15, ~images, images)
states, energies = memory.recall(noisy, return_trajectory=True)
print(f"{memory.score(noisy, images):.0%} of the noisy images are recalled exactly")

fig, ax = plt.subplots(figsize=(5, 3.5), layout="constrained")
ax.plot(energies[:5].T, "o-", color="tab:blue")
ax.set(xlabel="sweep", ylabel="energy", xticks=range(energies.shape[1]))
plt.show()
