"""
========================
Images that are mistaken
========================

A network can be led astray: its exact gradient tells which small change of an image
makes another class of it. Krotov and Hopfield (2017, arXiv:1701.00939) found that such
images do not transfer from networks of a small power n to those of a large one, and
that what a network of a large power takes for a digit looks like one. This example
shows how to test both claims, on images of 64 pixels. The page :doc:`/adversarial` has
the answers for MNIST.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from skdam import DenseAssociativeMemoryClassifier
from skdam.inspection import adversarial_examples, input_gradient, rubbish_images

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(
    X / 8 - 1, y, test_size=0.3, stratify=y, random_state=0
)
powers = [2, 3, 5, 20, 30]
networks = {
    n: DenseAssociativeMemoryClassifier(
        power=n, input_noise=0, max_iter=100, tol=None, random_state=0
    ).fit(X_train, y_train)
    for n in powers
}

# %%
# Across the boundary
# -------------------
# An image follows the gradient of the difference of two scores, until the other class
# is more probable by a margin.

right = np.all([clf.predict(X_test) == y_test for clf in networks.values()], axis=0)
images, labels = X_test[right][:200], y_test[right][:200]
examples = {
    n: adversarial_examples(clf, images, margin=0.5) for n, clf in networks.items()
}
for n, found in examples.items():
    print(
        f"n = {n}: {found.succeeded.mean():.0%} changed, by a median length of "
        f"{np.median(found.distances):.2f}"
    )

# %%

shown = [np.flatnonzero(labels == digit)[0] for digit in range(8)]
rows = {"digit": images} | {f"n = {n}": found.X for n, found in examples.items()}


def draw(rows, shown, titles=None):
    """Draw rows of digits, with the class that each is taken for."""
    fig, axes = plt.subplots(
        len(rows),
        len(shown),
        figsize=(0.85 * len(shown) + 1, 1.05 * len(rows)),
        layout="constrained",
    )
    for axes_row, (name, values) in zip(axes, rows.items(), strict=True):
        for ax, number in zip(axes_row, shown, strict=True):
            ax.imshow(values[number].reshape(8, 8), cmap="gray_r", vmin=-1, vmax=1)
            ax.set(xticks=[], yticks=[])
            if titles is not None:
                ax.set_title(titles[name][number], fontsize=9, pad=2)
        axes_row[0].set_ylabel(name, rotation=0, ha="right", va="center")
    return fig


titles = {"digit": labels}
titles |= {f"n = {n}": found.targets for n, found in examples.items()}
draw(rows, shown, titles).suptitle("Changed until taken for the digit above them")

# %%
# Transfer
# --------
# Each row is for the images that were made for one network, each column for the network
# that they are shown to.

table = np.array(
    [
        [np.mean(clf.predict(found.X) != labels) for clf in networks.values()]
        for found in examples.values()
    ]
)
fig, ax = plt.subplots(figsize=(4.6, 4), layout="constrained")
ax.imshow(table, cmap="Blues", vmin=0, vmax=1)
for (row, column), share in np.ndenumerate(table):
    color = "white" if share > 0.6 else "black"
    ax.text(column, row, f"{share:.0%}", ha="center", va="center", color=color)
ax.set_xticks(range(5), powers)
ax.set_yticks(range(5), powers)
ax.set(xlabel="n of the network that is deceived", ylabel="n they were made for")

# %%
# The gradient itself
# -------------------
# How to change the pixels of a 3 so that the score of 8 rises fastest: blue pixels are
# to become darker, red ones lighter.

three = images[labels == 3][:1]
gradients = [input_gradient(clf, three, 8)[0] for clf in networks.values()]
fig, axes = plt.subplots(1, 6, figsize=(8, 1.7), layout="constrained")
axes[0].imshow(three.reshape(8, 8), cmap="gray_r")
axes[0].set_title("digit")
for ax, n, gradient in zip(axes[1:], powers, gradients, strict=True):
    largest = abs(gradient).max()
    ax.imshow(gradient.reshape(8, 8), cmap="RdBu", vmin=-largest, vmax=largest)
    ax.set_title(f"n = {n}")
for ax in axes:
    ax.set(xticks=[], yticks=[])

# %%
# From noise
# ----------
# A hundred images of noise, changed until a network is confident of a digit. Networks
# of small powers are easily convinced. Those of large powers have nearly no slope
# there, as no memory responds to noise, and many images never get far enough (titled
# "-"). Ten of each are drawn. On 64 pixels, what is taken for a digit does not look
# like one, at any power.

rubbish = {
    n: rubbish_images(clf, np.repeat(range(10), 10), margin=0.5, random_state=0)
    for n, clf in networks.items()
}
for n, found in rubbish.items():
    print(f"n = {n}: {found.succeeded.mean():.0%} of noise taken for a digit")
rows = {f"n = {n}": found.X for n, found in rubbish.items()}
titles = {
    f"n = {n}": np.where(found.succeeded, found.targets.astype(str), "-")
    for n, found in rubbish.items()
}
draw(rows, range(0, 100, 10), titles).suptitle("Noise, changed until taken for a digit")

# %%
# Learning from them
# ------------------
# A network learns to resist if, before each step, the images of the minibatch are moved
# against the score of their own class, by the same amount in each pixel. Larger changes
# are then needed to deceive it, and it makes fewer errors on images that nobody
# changed. On MNIST the gain is larger than with dropout: see :doc:`/adversarial`.

n_epochs, rng = 20, np.random.default_rng(0)
resistant = DenseAssociativeMemoryClassifier(
    power=3, input_noise=0, max_iter=20, learning_rate="constant", random_state=0
).fit(X_train, y_train)
for epoch in range(n_epochs):
    resistant.set_params(learning_rate_init=0.02 * (1 - epoch / n_epochs))
    for rows in np.array_split(rng.permutation(len(X_train)), 12):
        gradient = input_gradient(resistant, X_train[rows], y_train[rows])
        harder = np.clip(X_train[rows] - 0.1 * np.sign(gradient), -1, 1)
        resistant.partial_fit(harder, y_train[rows])

for name, clf in {"as before": networks[3], "learned from them": resistant}.items():
    found = adversarial_examples(clf, images)
    print(
        f"n = 3, {name}: {clf.score(X_test, y_test):.1%} right, changed by a median "
        f"length of {np.median(found.distances):.2f}"
    )
plt.show()
