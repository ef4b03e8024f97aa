r"""
===================
Energy and its dual
===================

For small states of its classification neurons, one update of an associative memory is a
feedforward network with one hidden layer. The activation of that layer is the
derivative :math:`f = F'` of the energy function. This example draws both networks and
some pairs of :math:`F` and :math:`f`, and then runs the same memories in both forms.
"""

from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from skdam import DenseAssociativeMemoryClassifier
from skdam.energies import LogCosh, RectifiedPolynomial, Softplus
from skdam.figures import figure_3
from skdam.updates import get_update

plt.style.use("seaborn-v0_8-colorblind")

# %%
# Two descriptions of one network
# -------------------------------
# In the associative memory, classes are neurons like all others. In its dual they are
# the outputs.

figure_3()

# %%
# Pairs of F and f
# ----------------
# tanh, logistic and ReLU units each belong to an energy. Energies that grow alike for
# large overlaps are of one universality class, such as the first two, which grow as the
# overlap itself.

pairs = {
    "ln cosh, tanh": LogCosh(),
    "softplus, logistic": Softplus(),
    "n = 2, ReLU": RectifiedPolynomial(2),
    "n = 3, squared ReLU": RectifiedPolynomial(3),
}
x = np.linspace(-2, 2, 401)
fig, (F_ax, f_ax) = plt.subplots(1, 2, figsize=(8.3, 3.5), layout="constrained")
for name, energy in pairs.items():
    F_ax.plot(x, energy.value(x), label=name)
    f_ax.plot(x, energy.activation(x), label=name)
ticks = {"xticks": [-2, -1, 0, 1, 2], "yticks": [-1, 0, 1, 2, 3, 4]}
F_ax.set(title="energy function F", xlabel="overlap / T", **ticks, ylim=(-0.2, 4))
f_ax.set(title="activation f = F'", xlabel="overlap / T", **ticks, ylim=(-1.2, 4))
F_ax.legend()

# %%
# The same memories in both forms
# -------------------------------
# ``network_`` is the fitted network. It was trained in the feedforward form. With the
# same memories, the energy form computes the exact update, by differences of energy:
# the classification neurons start at -1 instead of a small negative state.

X, y = load_digits(return_X_y=True)
X = X / 8 - 1
X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)

fig, axes = plt.subplots(1, 3, figsize=(8.3, 3.2), layout="constrained")
for ax, power in zip(axes, (2, 3, 10), strict=True):
    clf = DenseAssociativeMemoryClassifier(
        200, power=power, max_iter=30, random_state=0
    ).fit(X_train, y_train)
    network = clf.network_
    scores, labels = {}, {}
    for form in ("feedforward", "energy"):
        update = get_update(form, network.energy, network.temperature)
        scores[form] = replace(network, update=update).scores(X_test)
        labels[form] = clf.classes_[scores[form].argmax(axis=1)]
        print(f"n = {power}, {form}: accuracy {(labels[form] == y_test).mean():.3f}")
    agreement = (labels["feedforward"] == labels["energy"]).mean()
    ax.plot(scores["feedforward"].ravel(), scores["energy"].ravel(), ".", ms=1)
    ax.axline((0, 0), slope=1, color="gray", lw=0.8)
    ax.set(title=f"n = {power}: {agreement:.1%} agree", xlabel="feedforward score")
axes[0].set_ylabel("energy score")
plt.show()
