"""
======================
Features to prototypes
======================

The power n of the interaction vertex decides what a memory becomes. With a small power,
memories are features: each votes for several classes, and many decide together. With a
large power, memories are prototypes: each stands for one class and decides alone. The
paper shows this transition on MNIST with n = 2, 3, 20 and 30. This example shows it on
scikit-learn's digits or, where the environment variable ``SKDAM_MNIST`` names a folder
with MNIST, on some of its images.
"""

import os

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from skdam import DenseAssociativeMemoryClassifier
from skdam.datasets import load_mnist
from skdam.figures import figure_2
from skdam.inspection import decisive_memories, recognition_units

# %%
# Train
# -----
# The initial memories matter. As in the paper, their components are around -0.3, so
# that every memory overlaps with every image's background, which is at -1. Memories
# that start around 0 soon either resemble a few images or die, and networks of small
# powers have fewer features. From the paper's start, a network needs a higher
# temperature than the classifier's "auto". As in the paper, there is no intercept, no
# dead memory is reinitialised, and no noise is added. The few images and epochs of this
# example are not enough for small errors.

common = {"init": (-0.3, 0.3), "tol": None, "random_state": 0}
common |= {"intercept_scaling": 0, "reinit_dead": 0, "input_noise": 0}
if os.environ.get("SKDAM_MNIST"):
    mnist = load_mnist()
    X_train, y_train = mnist.X_train[:5000], mnist.y_train[:5000]
    X_test, y_test = mnist.X_test[:2000], mnist.y_test[:2000]
    common |= {"n_memories": 300, "max_iter": 60}
    common |= {"learning_rate_init": 0.04, "batch_size": 100}
    parameters = {
        2: {"temperature": 140, "error_exponent": 3, "momentum": 0.6},
        3: {"temperature": 200, "error_exponent": 10, "momentum": 0.6},
        20: {"temperature": 310, "error_exponent": 5, "init": (0.0, 0.3)},
        30: {"temperature": 400, "error_exponent": 3, "init": (0.0, 0.3)},
    }
else:
    X, y = load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(
        X / 8 - 1, y, test_size=0.4, stratify=y, random_state=0
    )
    common |= {"n_memories": 200, "max_iter": 150}
    common |= {"learning_rate_init": 0.02, "batch_size": 100}
    parameters = {
        2: {"temperature": 20, "error_exponent": 3, "momentum": 0.6},
        3: {"temperature": 25, "error_exponent": 10, "momentum": 0.6},
        20: {"temperature": 48, "error_exponent": 10, "temperature_ramp": (2, 10)},
        30: {"temperature": 50, "error_exponent": 10, "temperature_ramp": (2, 10)},
    }

networks = [
    DenseAssociativeMemoryClassifier(power=power, **common | own).fit(X_train, y_train)
    for power, own in parameters.items()
]

# %%
# Count
# -----
# A memory votes for the classes whose recognition connection is above 0.9. A memory is
# decisive for an image if it contributes more than 0.9 of the largest contribution to
# the energy.

for clf in networks:
    units = recognition_units(clf)
    decisive = decisive_memories(clf, X_test)
    print(
        f"n = {clf.power}: test error {100 * (1 - clf.score(X_test, y_test)):.1f} %, "
        f"memories with one class {100 * np.mean(units == 1):.0f} %, with more "
        f"{100 * np.mean(units > 1):.0f} %; images with one decisive memory "
        f"{100 * np.mean(decisive == 1):.0f} %"
    )

# %%
# Draw
# ----

figure_2(networks, X_test, y_test)
plt.show()
