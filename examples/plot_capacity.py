r"""
======================
How much can be stored
======================

With an energy of power n, a network of N neurons stores a number of random patterns
that grows as :math:`N^{n-1}`. This example simulates recall below and above capacity,
and compares the number of patterns at which half of the trials succeed with theory.
"""

import matplotlib.pyplot as plt
import numpy as np

from skdam.capacity import half_recall_capacity, recovery_capacity, simulate_recall
from skdam.figures import figure_5

# %%
# Below and above capacity
# ------------------------
# Each trial draws a network, flips a tenth of the neurons of one of its memories, and
# recalls from that state. The overlap of the recalled state with the nearest memory is
# 1 if recall was perfect.

n_neurons, power = 100, 3
capacity = recovery_capacity(n_neurons, power)
fig, axes = plt.subplots(1, 3, figsize=(8.3, 3), sharey=True, layout="constrained")
for ax, share in zip(axes, (0.5, 1, 3), strict=True):
    n_memories = round(share * capacity)
    trials = simulate_recall(
        n_neurons, n_memories, power, n_trials=300, corruption=0.1, random_state=0
    )
    ax.hist(trials.overlaps, bins=np.linspace(0.2, 1.0, 33), weights=[1 / 300] * 300)
    ax.set_title(f"K = {n_memories}: {trials.recovered.mean():.0%} recovered", size=10)
    ax.set_xlabel("overlap m")
axes[0].set_ylabel("share of trials")
fig.suptitle(f"N = {n_neurons}, n = {power}")

# %%
# Growth with the number of neurons
# ---------------------------------
# Points are simulated; their error bars are the intervals in which bisection ended.
# Lines are theory: the number of memories at which all neurons of a stored pattern are
# stable with a probability of one half.

sizes = {2: (50, 100, 200), 3: (25, 40, 60, 90), 4: (15, 22, 32)}

plt.style.use("seaborn-v0_8-colorblind")
fig, ax = plt.subplots(figsize=(6.5, 4.5), layout="constrained")
for color, (power, numbers) in zip(("C0", "C1", "C2"), sizes.items(), strict=True):
    search = {"tolerance": 0.25, "max_trials": 1024, "random_state": 0}
    found = [half_recall_capacity(N, power, **search) for N in numbers]
    middle = np.array([half.n_memories for half in found])
    reach = np.abs(np.transpose([half.interval for half in found]) - middle)
    theory = [recovery_capacity(N, power) for N in numbers]
    ax.errorbar(numbers, middle, reach, fmt="o", color=color, mfc="none")
    ax.plot(numbers, theory, color=color)
    ax.text(numbers[-1], 1.2 * theory[-1], f"n = {power}", color=color, ha="center")
ax.set(xscale="log", yscale="log", xlabel="neurons N", ylim=(8, 1000))
ax.set_xticks([20, 50, 100, 200], ["20", "50", "100", "200"])
ax.set_yticks([10, 100, 1000], ["10", "100", "1000"])
ax.minorticks_off()
ax.set_ylabel("memories K at which half are recovered")

# %%
# From random states
# ------------------
# The paper starts from random states instead, and counts those that end in any memory.
# Rectified polynomials store somewhat more patterns, because memories with a negative
# overlap add no noise.

figure_5()
plt.show()
