"""
====================
XOR in three neurons
====================

The truth table of XOR has four rows of two inputs and an output. A Hopfield network of
three neurons cannot store these four patterns: its energy does not depend on the output
at all. Krotov and Hopfield (2016) introduce energies of higher order with this example.
"""

import matplotlib.pyplot as plt
import numpy as np

from skdam import DenseAssociativeMemory

truth_table = np.array([[-1, -1, -1], [-1, 1, 1], [1, -1, 1], [1, 1, -1]])

# %%
# Ask for the output
# ------------------
# An unknown neuron is NaN. With ``clamp="known"`` the inputs are held, and the output
# takes the state of lower energy.

cues = truth_table.astype(float)
cues[:, 2] = np.nan
memory = DenseAssociativeMemory(power=3, clamp="known").fit(truth_table)
print(memory.recall(cues).astype(int))

# %%
# Which powers solve XOR?
# -----------------------
# The plot shows the difference between the energies of the wrong and the right output,
# relative to the largest term of the energy, :math:`F(3)`. Where it is 0, the memory
# cannot tell the two apart.

powers = range(1, 13)
energies = ["polynomial", "rectified_polynomial"]
wrong_table = truth_table * [1, 1, -1]
difference = np.empty((len(energies), len(powers)))
for row, energy in enumerate(energies):
    for column, power in enumerate(powers):
        # With a temperature of 3, F(3) is 1.
        memory = DenseAssociativeMemory(power, energy=energy, temperature=3.0)
        memory.fit(truth_table)
        rise = memory.compute_energy(wrong_table) - memory.compute_energy(truth_table)
        difference[row, column] = rise.min()

fig, ax = plt.subplots(figsize=(9, 2.6), layout="constrained")
ax.imshow(difference, cmap="Greens", vmin=0, vmax=2.5)
for (row, column), value in np.ndenumerate(difference):
    solved = value > 1e-9
    text = f"{value:.2f}" if solved else "no"
    ax.text(column, row, text, ha="center", va="center", color="k" if solved else "C3")
ax.set_xticks(range(len(powers)), powers)
ax.set_yticks(range(2), ["polynomial", "rectified"])
ax.set(xlabel="power n", title="Energy of the wrong output above that of the right")
plt.show()

# %%
# Polynomials solve XOR if the power is odd and at least 3. With an even power a state
# has the same energy as its negative, and each wrong row of the table is the negative
# of a right one. Rectified polynomials lack this symmetry, and solve XOR with any power
# of at least 2.
