r"""
=============================
A memory of gray-scale images
=============================

A memory of real vectors stores 1000 images of digits as they are, in gray, and
completes them when half is missing. The example then shows how its energies differ: in
how many stored vectors they average over, and in where their minima are.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

from skdam import ContinuousAssociativeMemory

# %%
# Half of an image
# ----------------
# Unknown pixels are NaN. Three lines complete them:

images = load_digits().data[:1000]
halves = images.copy()
halves[:, 32:] = np.nan

memory = ContinuousAssociativeMemory().fit(images)
completed = memory.transform(halves)
right = np.abs(completed - images).max(axis=1) < 0.5
print(f"{right.mean():.1%} of the halves are completed to the right image")

# %%
# Every energy does this, since the automatic ``beta`` is so large that a stored image
# is recalled as it is. An image that was not stored cannot be recalled; with a smaller
# ``beta``, recall is then a mean of several stored images, and the energies differ in
# how many. Stored images and cues are gray, and unknown pixels are blue.

new = load_digits().data[1000:1008]
cues = np.where(np.arange(64) < 32, new, np.nan)
energies = [
    "log_sum_exp",
    "entmax",
    "sparsemax",
    "rectified_polynomial",
    "log_sum_relu",
]
rows = {"new image": new, "its upper half": cues}
for energy in energies:
    memory = ContinuousAssociativeMemory(energy=energy).fit(images)
    softer = ContinuousAssociativeMemory(memory.beta_ / 10, energy=energy).fit(images)
    rows[energy.replace("_", " ")] = softer.transform(cues)

grays = plt.get_cmap("gray").with_extremes(bad="tab:blue")
fig, axes = plt.subplots(len(rows), 8, figsize=(8, 7.4), layout="constrained")
for axes_row, (name, states) in zip(axes, rows.items(), strict=True):
    for ax, state in zip(axes_row, states, strict=True):
        ax.imshow(state.reshape(8, 8), cmap=grays, vmin=0, vmax=16)
        ax.set(xticks=[], yticks=[])
    axes_row[0].set_ylabel(name, rotation=0, ha="right", va="center")
fig.suptitle("Lower halves of images that were never stored (a tenth of the beta)")

# %%
# From the mean to one image
# --------------------------
# ``beta`` says how much closer a stored image has to be to count more. With a small
# one, recall is the mean of all images; with a large one, the nearest image; between
# them, means of fewer and fewer. To complete vectors that were not stored, something
# between is best, and ``score`` finds it: here on new images, of which it hides one
# half of the pixels and then the other. Near the best ``beta`` recall may take more
# steps than the default allows, hence ``max_iter``.

automatic = ContinuousAssociativeMemory().fit(images).beta_
factors = np.logspace(-4, 0, 7)
memories = [
    ContinuousAssociativeMemory(automatic * f, max_iter=1000).fit(images)
    for f in factors
]
scores = [memory.score(load_digits().data[1000:1300]) for memory in memories]

fig, axes = plt.subplots(1, len(factors), figsize=(9, 2.2), layout="constrained")
for ax, factor, memory, score in zip(axes, factors, memories, scores, strict=True):
    ax.imshow(memory.transform(cues[:1]).reshape(8, 8), cmap=grays, vmin=0, vmax=16)
    ax.set(xticks=[], yticks=[], xlabel=f"score {score:.2f}")
    ax.set_title(f"{factor:.2g}", fontsize="medium")
fig.suptitle("beta, over the automatic one")

# %%
# Minima that nobody stored
# -------------------------
# On a line, four stored numbers, and the energy between them. The Gaussian kernels of
# log-sum-exp melt together where they are close: the stored numbers 0, 1 and 2 have one
# minimum together, which is at 1, so that 0 and 2 are not recalled. The kernels of
# log-sum-ReLU end at a distance of :math:`\sqrt{2 / \beta}`, here 0.9. Each of the
# stored numbers stays a minimum, as no other one is so near, and *new* minima emerge
# where two kernels overlap.

stored = np.array([[0.0], [1.0], [2.0], [4.0]])
line = np.linspace(-1.5, 5.5, 1401)[:, None]
fig, axes = plt.subplots(2, 1, figsize=(7, 5), sharex=True, layout="constrained")
for ax, energy in zip(axes, ["log_sum_exp", "log_sum_relu"], strict=True):
    memory = ContinuousAssociativeMemory(2 / 0.9**2, energy=energy, clamp=None)
    values = memory.fit(stored).compute_energy(line)
    ends = np.unique(memory.recall(line[np.isfinite(values)]).round(2))
    ax.plot(line, np.where(np.isfinite(values), values, np.nan))
    ax.plot(ends, memory.compute_energy(ends[:, None]), "o", label="where recall ends")
    for number in stored[:, 0]:
        ax.axvline(number, color="gray", linestyle=":")
    ax.set(ylim=(-0.5, 2), ylabel="energy", title=energy.replace("_", "-"))
    print(f"{energy}: recall ends at {ends}")
axes[0].legend()
axes[1].set_xlabel("state; stored numbers are dotted")
plt.show()
