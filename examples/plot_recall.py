"""
============================
Digits from half of an image
============================

A dense associative memory stores 200 images of handwritten digits, of 64 pixels each,
and completes them when only the upper half is known. Images resemble each other much
more than random patterns do, so that only a large power can tell them apart.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

from skdam import DenseAssociativeMemory

images = load_digits().data[:200] > 7

# %%
# Cues
# ----
# Unknown pixels are NaN. With ``clamp="known"`` recall does not change the others.

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
# Small powers mix many memories, of which ``fit`` warns: ``power="auto"`` chooses one
# that keeps as many of the stored images as possible. No power can tell apart two
# stored images with the same upper half.

shown = range(10)
rows = {"stored": 2.0 * images - 1, "cue": 2 * cues - 1}
rows |= {f"n = {power}": recalled[power] for power in powers}

fig, axes = plt.subplots(len(rows), len(shown), figsize=(9, 4.6), layout="constrained")
grays = plt.get_cmap("gray").with_extremes(bad="tab:blue")
for axes_row, (name, states) in zip(axes, rows.items(), strict=True):
    for ax, number in zip(axes_row, shown, strict=True):
        ax.imshow(states[number].reshape(8, 8), cmap=grays, vmin=-1, vmax=1)
        ax.set(xticks=[], yticks=[])
    axes_row[0].set_ylabel(name)
fig.suptitle("Recall from the upper half (unknown pixels in blue)")

# %%
# Recall lowers the energy
# ------------------------
# If recall starts at noisy images, with all pixels free, the energy falls in each sweep
# until nothing changes. The temperature of 64 measures overlaps in units of all 64
# neurons, so that a stored image contributes -1 to the energy.

rng = np.random.default_rng(0)
noisy = np.where(rng.random(images.shape) < 0.15, ~images, images)
memory = DenseAssociativeMemory(30, temperature=64.0, random_state=0).fit(images)
states, energies = memory.recall(noisy, return_trajectory=True)
print(f"{memory.score(noisy, images):.0%} of the noisy images are recalled exactly")

fig, ax = plt.subplots(figsize=(5, 3.5), layout="constrained")
ax.plot(energies[:20].T, color="tab:blue", alpha=0.5)
ax.set(xlabel="sweep", ylabel="energy", xticks=range(energies.shape[1]))
plt.show()
