"""Recall of real vectors: its time, its values, and how well it imputes tables.

    python examples/benchmarks/continuous.py

writes ``results/continuous.json``; ``--quick`` tries everything at small sizes in a few
seconds. ``--tables FOLDER`` takes the numbers in the columns of ``*.csv`` instead of
scikit-learn's tables. PyTorch, hflayers (hopfield-layers) and hamux are compared with
if they are installed.

What is measured
----------------
steps
    Seconds of a step from 1000 states over 10 000 stored vectors of 784 features, over
    those of its two matrix products, and of PyTorch's attention, on one core; and the
    share of the stored vectors that have a weight.
values
    Largest difference between one step and the attention of PyTorch, of hflayers
    without its projections, and of hamux (the gradient of its Lagrangian), and between
    the energies and those of hamux.
imputers
    Root mean square error of the values that were taken out of standardised tables of
    at most 600 rows, completely at random; the mean and the standard deviation over
    the seeds. "memory" is the default, and "memory, searched" the beta and energy of a
    grid with the best score in a cross-validation on the same incomplete table.
"""

from __future__ import annotations

import warnings
from collections import namedtuple
from functools import partial
from pathlib import Path

import numpy as np
from _measure import Options, Report, ratios, round_robin, seconds_of, spreads
from _peers import torch
from sklearn import datasets
from sklearn.exceptions import ConvergenceWarning
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer
from sklearn.metrics import euclidean_distances
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from skdam import ContinuousAssociativeMemory

try:
    from hflayers import Hopfield
except ImportError:
    Hopfield = None
try:
    import hamux
    import jax
except ImportError:
    hamux = None

ENERGIES = [
    "log_sum_exp",
    "log_sum_relu",
    "rectified_polynomial",
    "entmax",
    "sparsemax",
]
TABLES = ["digits", "wine", "breast_cancer", "iris", "diabetes"]
BETAS = [0.01, 0.05, 0.2]

# How large everything is.
Scale = namedtuple("Scale", "n_memories n_features n_states rounds seeds rows factors")
FULL = Scale(10_000, 784, 1000, 5, 5, 600, 9)
QUICK = Scale(300, 64, 50, 2, 1, 100, 3)


def products(states: np.ndarray, stored: np.ndarray) -> np.ndarray:
    return (states @ stored.T) @ stored


def steps(report: Report, scale: Scale) -> None:
    """Time steps of each energy, products, and PyTorch's attention."""
    part = report.part("steps", **scale._asdict())
    rng = np.random.default_rng(0)
    for dtype in (np.float32, np.float64):
        stored = rng.random((scale.n_memories, scale.n_features)).astype(dtype)
        states = rng.random((scale.n_states, scale.n_features)).astype(dtype)

        tasks = {"products": partial(seconds_of, products, states, stored)}
        halves, shares = euclidean_distances(states, stored, squared=True) / 2, {}
        for energy in ENERGIES:
            for beta in BETAS:
                memory = ContinuousAssociativeMemory(
                    beta, energy=energy, clamp=None, max_iter=1, tol=0
                ).fit(stored)
                name = f"{energy}, {beta}"
                tasks[name] = partial(seconds_of, memory.recall, states)
                weights = memory.energy_.gradient(-beta * halves)
                shares[name] = np.mean(weights > 0).item()
        if torch is not None:
            k, q = torch.from_numpy(stored)[None], torch.from_numpy(states)[None]
            attention = torch.nn.functional.scaled_dot_product_attention
            tasks["torch attention"] = partial(seconds_of, attention, q, k, k)
        for values in round_robin(tasks, scale.rounds):
            part[np.dtype(dtype).name] = {
                "seconds": spreads(values),
                "over_products": ratios(values, "products"),
                "share_with_weight": shares,
            }
            report.save()
        for name, found in part[np.dtype(dtype).name]["over_products"].items():
            share = f"{shares[name]:10.2%}" if name in shares else ""
            print(f"{np.dtype(dtype).name}  {name:28}{found['median']:6.2f}{share}")


def values(report: Report, scale: Scale) -> None:
    """Compare one step and energies with those of other libraries."""
    part = report.part("values", **scale._asdict())
    rng = np.random.default_rng(0)
    stored = rng.normal(size=(200, 32)).astype(np.float32)
    states = rng.normal(size=(50, 32)).astype(np.float32)
    beta = 0.4
    memory = ContinuousAssociativeMemory(
        beta, similarity="dot_product", clamp=None, max_iter=1, tol=0
    ).fit(stored)
    step, energy = memory.recall(states), memory.compute_energy(states)

    def differs(name, mine, other):
        part[name] = float(np.abs(mine - np.asarray(other)).max())
        print(f"{name:30}{part[name]:10.1e}")

    if torch is not None:
        k, q = torch.from_numpy(stored)[None], torch.from_numpy(states)[None]
        attention = torch.nn.functional.scaled_dot_product_attention
        differs("step, torch", step, attention(q, k, k, scale=beta)[0])
        energies = (q[0] ** 2).sum(1) / 2 - torch.logsumexp(
            beta * q[0] @ k[0].T, 1
        ) / beta
        differs("energy, torch", energy, energies)
    if Hopfield is not None:
        association = Hopfield(
            scaling=beta,
            batch_first=True,
            disable_out_projection=True,
            normalize_stored_pattern=False,
            normalize_stored_pattern_affine=False,
            normalize_state_pattern=False,
            normalize_state_pattern_affine=False,
            normalize_pattern_projection=False,
            normalize_pattern_projection_affine=False,
            stored_pattern_as_static=True,
            state_pattern_as_static=True,
            pattern_projection_as_static=True,
        ).eval()
        with torch.no_grad():
            differs("step, hflayers", step, association((k, q, k))[0])
    if hamux is not None:

        def synapse(state):
            return -hamux.lagr_softmax(stored @ state, beta=beta)

        differs("step, hamux", step, jax.vmap(lambda s: -jax.grad(synapse)(s))(states))
        identity = jax.vmap(hamux.lagr_identity)(states)
        differs("energy, hamux", energy, identity + jax.vmap(synapse)(states))
    report.save()


def load_tables(folder: Path | None, n_rows: int) -> dict[str, np.ndarray]:
    """Return standardised tables of complete numbers."""
    if folder is None:
        tables = {name: getattr(datasets, f"load_{name}")().data for name in TABLES}
    else:
        import pandas as pd

        tables = {
            path.stem: pd.read_csv(path)
            .select_dtypes("number")
            .dropna()
            .to_numpy(float)
            for path in sorted(folder.glob("*.csv"))
        }
    rng = np.random.default_rng(0)
    for name, X in tables.items():
        X = X[np.sort(rng.permutation(len(X))[:n_rows])]
        tables[name] = StandardScaler().fit_transform(X[:, X.std(axis=0) > 0])
    return tables


def searched(X: np.ndarray, n_factors: int) -> np.ndarray:
    """Complete a table with the beta and the energy of the best score on itself."""
    automatic = ContinuousAssociativeMemory().fit(X).beta_
    betas = automatic * np.logspace(-4, 0, n_factors)
    grid = {"beta": betas, "energy": ["log_sum_exp", "entmax"]}
    # Rows may be in the order of their classes.
    cv = KFold(3, shuffle=True, random_state=0)
    search = GridSearchCV(ContinuousAssociativeMemory(), grid, cv=cv)
    return search.fit(X).best_estimator_.fit_transform(X)


def imputers(report: Report, scale: Scale, folder: Path | None) -> None:
    """Take values out of tables, and compare what is put in their place."""
    part = report.part("imputers", **scale._asdict())
    methods = {
        "SimpleImputer": SimpleImputer().fit_transform,
        "KNNImputer": KNNImputer().fit_transform,
        "IterativeImputer": IterativeImputer(random_state=0).fit_transform,
        "memory": ContinuousAssociativeMemory().fit_transform,
        "memory, searched": partial(searched, n_factors=scale.factors),
    }
    tables = load_tables(folder, scale.rows)
    for name, X in list(tables.items())[-2 if scale is QUICK else 0 :]:
        for share in (0.1, 0.3):
            errors = {method: [] for method in methods}
            for seed in range(scale.seeds):
                holes = np.random.default_rng(seed).random(X.shape) < share
                cut = np.where(holes, np.nan, X)
                for method, impute in methods.items():
                    wrong = (impute(cut) - X)[holes]
                    errors[method].append(float(np.sqrt(np.square(wrong).mean())))
            found = {
                method: {"mean": np.mean(e).item(), "std": np.std(e).item(), "seeds": e}
                for method, e in errors.items()
            }
            part[f"{name}, {share:.0%}"] = found
            report.save()
            row = "  ".join(f"{m} {e['mean']:.3f}" for m, e in found.items())
            print(f"{name}, {share:.0%}: {row}", flush=True)


def main() -> None:
    parts = "steps", "values", "imputers"
    options = Options(__doc__, parts=parts, mnist=False)
    options.add_argument("--tables", type=Path, metavar="FOLDER", help="of csv files")
    args = options.parse()
    scale = QUICK if args.quick else FULL
    report = Report(args.output / "continuous.json", str(args.tables or "scikit-learn"))
    if torch is not None:
        torch.set_num_threads(1)
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        if "steps" in args.parts:
            steps(report, scale)
        if "values" in args.parts:
            values(report, scale)
        if "imputers" in args.parts:
            imputers(report, scale, args.tables)
    print(f"Results are in {args.output}.")


if __name__ == "__main__":
    main()
