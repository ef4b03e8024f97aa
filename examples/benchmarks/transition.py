"""The start of the memories and the feature-to-prototype transition on MNIST.

    python examples/benchmarks/transition.py --mnist FOLDER

``paper.py`` chooses parameters by their validation error alone. The networks that it
finds at n = 2 have fewer decisive memories for an image than the paper's. This script
trains networks of 500 memories from a start of mean 0 and from the paper's, of mean
-0.3, at several temperatures, and counts recognition units and decisive memories as the
paper defines them. It writes ``results/transition.json`` and the last table of
``docs/reproduction.md``. ``--quick`` tries everything on digits in seconds.
"""

from __future__ import annotations

import warnings
from time import perf_counter

import numpy as np
from _measure import Options, Report, load_images
from _page import write_page
from sklearn.exceptions import ConvergenceWarning

from skdam import DenseAssociativeMemoryClassifier
from skdam.datasets import MNIST
from skdam.inspection import contributions, recognition_units

COMMON = {
    "n_memories": 500,
    "error_exponent": 3,
    "batch_size": 500,
    "max_iter": 40,
    "intercept_scaling": 0,
    "reinit_dead": 0,
    "input_noise": 0,
    "tol": None,
    "random_state": 0,
}

ZERO = {"init_mean": 0.0, "momentum": 0.9}
PAPERS = {"init_mean": -0.3, "momentum": 0.6, "learning_rate_init": 0.02}

NETWORKS = [
    {**ZERO, "power": 2, "temperature": 15, "learning_rate_init": 0.005},
    {**PAPERS, "power": 2, "temperature": 120},
    {**PAPERS, "power": 2, "temperature": 200},
    {**PAPERS, "power": 2, "temperature": 200, "max_iter": 160},
    {**PAPERS, "power": 2, "temperature": 400},
    {**ZERO, "power": 30, "temperature": 363, "learning_rate_init": 0.01},
    {**PAPERS, "power": 30, "temperature": 560, "momentum": 0.9},
]


def main() -> None:
    args = Options(__doc__, docs=True).parse()
    # Some are not meant to learn.
    warnings.simplefilter("ignore", ConvergenceWarning)
    data = load_images(args)
    report = Report(
        args.output / "transition.json", "digits" if args.quick else "mnist"
    )
    part = report.part("networks", common=COMMON)
    part["networks"] = []
    for parameters in NETWORKS:
        parameters = COMMON | parameters
        if args.quick:
            parameters |= {"max_iter": 2, "n_memories": 40}
        part["networks"].append(parameters | counted(data, **parameters))
        print(part["networks"][-1], flush=True)
        report.save()
    write_page(args.docs / "reproduction.md", args.output)
    print(f"Results are in {args.output}, the page in {args.docs}.")


def counted(data: MNIST, init_mean: float, **parameters) -> dict:
    """Train a network; return its error and the paper's two counts."""
    start = perf_counter()
    clf = DenseAssociativeMemoryClassifier(init=(init_mean, 0.3), **parameters)
    clf.fit(data.X_train, data.y_train)
    seconds = perf_counter() - start
    units = recognition_units(clf)
    shares = contributions(clf, data.X_test[:2000])
    decisive = (shares > 0.9).sum(axis=1)
    return {
        "error": 1 - clf.score(data.X_test, data.y_test),
        "units_median": float(np.median(units)),
        "one_unit": float(np.mean(units == 1)),
        "decisive_median": float(np.median(decisive)),
        "one_decisive": float(np.mean(decisive == 1)),
        "many_decisive": float(np.mean(decisive > 10)),
        "silent": float((shares <= 0).all(axis=0).mean()),
        "seconds": seconds,
    }


if __name__ == "__main__":
    main()
