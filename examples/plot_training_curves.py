"""
===============================
Training curves of three powers
===============================

The power n of the interaction vertex decides how sharply a memory responds to a sample
that resembles it. Three networks with n = 2, 3 and 20 learn scikit-learn's digits, and
are scored on validation data after each epoch.
"""

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import minmax_scale

from skdam import DenseAssociativeMemoryClassifier

X, y = load_digits(return_X_y=True)
X = minmax_scale(X, (-1, 1))
X_train, X_val, y_train, y_val = train_test_split(X, y, stratify=y, random_state=0)

# %%
# Train
# -----
# Validation data that are passed to ``fit`` are scored after each epoch. The default
# temperature depends on the power, the number of memories and the data;
# ``temperature_`` is the value that was used.

networks = [
    DenseAssociativeMemoryClassifier(power=power, max_iter=40, random_state=0).fit(
        X_train, y_train, X_val=X_val, y_val=y_val
    )
    for power in (2, 3, 20)
]

# %%
# Draw
# ----

plt.style.use("seaborn-v0_8-colorblind")
fig, (loss_ax, score_ax) = plt.subplots(1, 2, figsize=(8.3, 3.5), layout="constrained")
for network in networks:
    epochs = range(1, network.n_iter_ + 1)
    label = f"n = {network.power}, T = {network.temperature_:.0f}"
    loss_ax.semilogy(epochs, network.loss_curve_)
    score_ax.plot(epochs, network.validation_scores_, label=label)
loss_ax.set(xlabel="epoch", title="training loss", xticks=[0, 20, 40])
score_ax.set(xlabel="epoch", title="validation accuracy", xticks=[0, 20, 40])
score_ax.set_ylim(0.9, 1)
score_ax.legend(loc="lower right", labelcolor="linecolor")
plt.show()
