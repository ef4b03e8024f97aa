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
from skdam.figures import table_1

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
# The picture shows by how much the energy of the wrong output is above that of the
# right one. Where the difference is 0, the memory cannot tell the two apart.

table_1()
plt.show()

# %%
# Polynomials solve XOR if the power is odd and at least 3. With an even power a state
# has the same energy as its negative, and each wrong row of the table is the negative
# of a right one. Rectified polynomials lack this symmetry, and solve XOR with any power
# of at least 2.
