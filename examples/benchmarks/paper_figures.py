"""Every figure of Krotov and Hopfield (2016), drawn by ``skdam.figures``.

    python examples/benchmarks/paper_figures.py --mnist FOLDER

Figures 1 and 2 are of networks that ``preset("krotov-hopfield-2016-short")`` trains on
MNIST, one for each power; figures 4 and 5 have more states and neurons than
their defaults. Pictures go to ``docs/_static/paper_*.png``; test errors, counts and
seconds to ``results/paper_figures.json``. Each fit keeps a checkpoint in
``results/paper``, from which a run that was interrupted goes on (scikit-learn's digits
and small figures with ``--quick``, in seconds).
"""

from __future__ import annotations

from time import perf_counter

import numpy as np
from _measure import Options, Report, load_images

from skdam import Checkpoint, DenseAssociativeMemoryClassifier, figures, preset
from skdam.inspection import decisive_memories, recognition_units
from skdam.model_selection import TrainingRun

POWERS = 2, 3, 20, 30
THRESHOLD = 0.02
SIZES = {
    # The figure's arguments here, and with --quick.
    "figure_3": ({}, {}),
    "figure_4": ({"n_states": 2000}, {"n_neurons": 30, "n_memories": 60}),
    "figure_5": ({"sizes": (50, 75, 100, 150, 200), "n_states": 500}, {"sizes": (20,)}),
    "table_1": ({}, {}),
}


def main() -> None:
    args = Options(__doc__, docs=True).parse()
    data = load_images(args)
    report = Report(
        args.output / "paper_figures.json", "digits" if args.quick else "mnist"
    )
    runs = {}
    for power in POWERS:
        runs[power] = [train(power, data, args)]
        part = report.part(f"n={power}", keep=True)
        part |= described(*runs[power], data.X_test)
        print(f"n = {power}: test error {100 * part['error']:.2f} %", flush=True)
        report.save()
    drawn = {"figure_1": figures.figure_1(runs)}
    networks = [runs[power][0].estimator for power in POWERS]
    drawn["figure_2"] = figures.figure_2(networks, data.X_test, data.y_test)
    part = report.part("seconds", keep=True)
    for name, sizes in SIZES.items():
        start = perf_counter()
        drawn[name] = getattr(figures, name)(**sizes[args.quick])
        part[name] = perf_counter() - start
    report.save()
    folder = args.docs / "_static"
    folder.mkdir(parents=True, exist_ok=True)
    for name, figure in drawn.items():
        figure.savefig(folder / f"paper_{name}.png", dpi=100)
    print(f"Results are in {args.output}, the pictures in {folder}.")


def train(power: int, data, args) -> TrainingRun:
    """Train a network of the preset, or restore it."""
    params = preset("krotov-hopfield-2016-short", power=power)
    params |= {"random_state": 0}
    if args.quick:
        params |= {"n_memories": 60, "max_iter": 3, "batch_size": 100}
    clf = DenseAssociativeMemoryClassifier(**params)
    folder = args.output / "paper"
    folder.mkdir(parents=True, exist_ok=True)
    clf.set_callbacks(Checkpoint(folder / f"preset_n{power}.npz"))
    start = perf_counter()
    test = {"X_val": data.X_test, "y_val": data.y_test}
    clf.fit(data.X_train, data.y_train, **test)
    errors = 1 - np.asarray(clf.validation_scores_)
    return TrainingRun(params, errors, THRESHOLD, clf, perf_counter() - start)


def described(run: TrainingRun, X: np.ndarray) -> dict:
    units = recognition_units(run.estimator)
    decisive = decisive_memories(run.estimator, X)
    return {
        "temperature": run.estimator.temperature_,
        "error": float(run.errors[-1]),
        "errors": run.errors.tolist(),
        "first_epoch": run.first_epoch,
        "memories_by_recognition_units": np.bincount(units).tolist(),
        "images_by_decisive_memories": np.bincount(np.minimum(decisive, 11)).tolist(),
    }


if __name__ == "__main__":
    main()
