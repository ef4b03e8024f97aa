"""
=========================================
A neural network is an associative memory
=========================================

A multi-layer perceptron with one hidden layer is the dual of a dense associative
memory: each hidden unit is a memory, and its activation is the derivative of the energy
function. :func:`~skdam.from_mlp` turns a perceptron that scikit-learn has trained into
such a memory, which has the same predictions, and an energy besides.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

from skdam import from_mlp
from skdam.inspection import MemoriesDisplay

X, y = load_digits(return_X_y=True)
X = X / 8 - 1
X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)

# %%
# The same predictions
# --------------------
# ReLU units belong to the rectified polynomial of power 2. Hidden biases are
# connections to a neuron that is always at 1; the biases of the output units are one
# more memory.

mlp = MLPClassifier((64,), alpha=1.0, tol=2e-3, random_state=0).fit(X_train, y_train)
memory = from_mlp(mlp)

difference = np.abs(memory.predict_proba(X_test) - mlp.predict_proba(X_test)).max()
print(f"{memory.n_memories_} memories, energy {memory.network_.energy}")
print(
    f"accuracy {memory.score(X_test, y_test):.3f}, MLP {mlp.score(X_test, y_test):.3f}"
)
print(f"largest difference of a probability: {difference:.1e}")

# %%
# Its memories
# ------------
# The weights of the hidden units look like features of digits, and not like digits:
# for such a small power, many memories act together.

fig, ax = plt.subplots(figsize=(5, 4.3), layout="constrained")
strongest = np.argsort(-np.abs(memory.memories_).max(axis=1))[:25]
display = MemoriesDisplay.from_estimator(
    memory, memories=strongest, vmin=-0.5, vmax=0.5, ax=ax
)
fig.colorbar(display.im_, shrink=0.8, ticks=[-0.5, 0, 0.5])
ax.set_title("The 25 largest memories")

# %%
# Its energies
# ------------
# The classification neurons can be clamped to any class. The perceptron's class is
# nearly always the one with the lowest energy.

classes = memory.classes_
energies = np.column_stack(
    [memory.compute_energy(X_test, np.full(len(X_test), label)) for label in classes]
)
agreement = (classes[energies.argmin(axis=1)] == mlp.predict(X_test)).mean()
print(f"lowest energy = class of the perceptron: {agreement:.1%} of test samples")

shown = [np.flatnonzero(y_test == label)[0] for label in classes]
relative = energies[shown] - energies[shown].min(axis=1, keepdims=True)
fig, ax = plt.subplots(figsize=(5, 4), layout="constrained")
image = ax.imshow(relative, cmap="viridis")
ax.set(xlabel="class that is clamped", ylabel="digit that is shown")
ax.set(xticks=classes, yticks=classes)
fig.colorbar(image, label="energy above the lowest")

# %%
# Recall from half of an image
# ----------------------------
# The perceptron needs all pixels. The memory takes unknown ones as NaN, and recalls a
# class first. With that class clamped, each unknown pixel is then set to +1 or -1,
# whichever has the lower energy, until none changes.

cues = X_test.copy()
cues[:, 32:] = np.nan
recalled = memory.predict(cues)
print(f"class from the upper half: {(recalled == y_test).mean():.0%} are right")

network = memory.network_
F, memories = network.energy.value, network.memories / network.unit
states = np.nan_to_num(cues)
[(_, overlaps)] = network.overlaps(states, 2.0 * (recalled[:, None] == classes) - 1)
changed = True
while changed:
    changed = False
    for pixel in range(32, 64):
        rest = overlaps - np.outer(states[:, pixel], memories[:, pixel])
        rise = F(rest + memories[:, pixel]) - F(rest - memories[:, pixel])
        new = np.where(rise.sum(axis=1) > 0, 1.0, -1.0)
        changed |= (new != states[:, pixel]).any()
        states[:, pixel] = new
        overlaps = rest + np.outer(new, memories[:, pixel])

right = ((states > 0) == (X_test > 0))[:, 32:].mean()
print(f"unknown pixels: {right:.0%} are right")
common = ((X_train.mean(axis=0) > 0) == (X_test > 0))[:, 32:].mean()
print(f"the commonest value of each pixel: {common:.0%} are right")

fig, axes = plt.subplots(3, 10, figsize=(8.3, 2.8), layout="constrained")
grays = plt.get_cmap("gray").with_extremes(bad="tab:blue")
rows = {"image": X_test, "cue": cues, "recalled": states}
for axes_row, (name, images) in zip(axes, rows.items(), strict=True):
    for ax, number in zip(axes_row, shown, strict=True):
        ax.imshow(images[number].reshape(8, 8), cmap=grays, vmin=-1, vmax=1)
        ax.set(xticks=[], yticks=[])
    axes_row[0].set_ylabel(name)
for ax, number in zip(axes[-1], shown, strict=True):
    ax.set_xlabel(recalled[number])

# %%
# Recall exaggerates what tells the class apart, and draws a caricature: no more pixels
# are right than if each took its commonest value. This network was trained to tell
# digits apart, and not to store them. For recall of stored images, see the example
# :ref:`sphx_glr_auto_examples_plot_recall.py`.

plt.show()
