"""Every figure of Krotov and Hopfield (2016), drawn by ``skdam.figures``.

    python examples/benchmarks/paper_figures.py --mnist FOLDER

Figures 1 and 2 are of networks that ``preset("krotov-hopfield-2016-short")`` trains on
MNIST, smaller ones with ``--memories`` and ``--epochs``. Figures 4 and 5 have more
states and neurons than by default. Pictures go to ``docs/_static/paper_*.png``, test
errors and counts to ``results/paper_figures.json``. Each fit keeps a checkpoint in
``results/paper``, from which a run that was interrupted goes on. ``--quick`` tries
everything on scikit-learn's digits in seconds.
"""

from __future__ import annotations

from time import perf_counter

import numpy as np
from _measure import Options, Report, load_images

from skdam import Checkpoint, DenseAssociativeMemoryClassifier, figures, preset
from skdam.inspection import decisive_memories, recognition_units
from skdam.model_selection import TrainingRun

THRESHOLD = 0.02
SIZES = {
    # The figure's arguments here, and with --quick.
    "figure_3": ({}, {}),
    "figure_4": ({"n_states": 2000}, {"n_neurons": 30, "n_memories": 60}),
    "figure_5": ({"sizes": (50, 75, 100, 150, 200), "n_states": 500}, {"sizes": (20,)}),
    "table_1": ({}, {}),
}


def main() -> None:
    options = Options(__doc__, docs=True)
    options.size("memories", "K", 2000, 60)
    options.size("epochs", "of each network", 75, 3)
    options.add_argument("--powers", default="2,3,20,30", help="default: %(default)s")
    args = options.parse()
    powers = [int(power) for power in args.powers.split(",")]
    data = load_images(args)
    report = Report(
        args.output / "paper_figures.json", "digits" if args.quick else "mnist"
    )
    runs = {}
    for power in powers:
        runs[power] = [train(power, data, args)]
        settings = {"memories": args.memories, "epochs": args.epochs}
        part = report.part(f"n={power}", **settings)
        part |= described(*runs[power], data.X_test)
        print(f"n = {power}: test error {100 * part['error']:.2f} %", flush=True)
        report.save()
    drawn = {"figure_1": figures.figure_1(runs)}
    networks = [runs[power][0].estimator for power in powers]
    drawn["figure_2"] = figures.figure_2(networks, data.X_test, data.y_test)
    for name, sizes in SIZES.items():
        drawn[name] = getattr(figures, name)(**sizes[args.quick])
    folder = args.docs / "_static"
    folder.mkdir(parents=True, exist_ok=True)
    for name, figure in drawn.items():
        figure.savefig(
            folder / f"paper_{name}.png", dpi=200 if name == "figure_2" else 100
        )
    print(f"Results are in {args.output}, the pictures in {folder}.")


def train(power: int, data, args) -> TrainingRun:
    """Train a network of the preset, or restore it."""
    params = preset("krotov-hopfield-2016-short", power=power)
    params |= {"n_memories": args.memories, "max_iter": args.epochs, "random_state": 0}
    if args.quick:
        params["batch_size"] = 100
    clf = DenseAssociativeMemoryClassifier(**params)
    folder = args.output / "paper"
    folder.mkdir(parents=True, exist_ok=True)
    clf.set_callbacks(
        Checkpoint(folder / f"preset_n{power}_{args.memories}_{args.epochs}.npz")
    )
    start = perf_counter()
    clf.fit(data.X_train, data.y_train, X_val=data.X_test, y_val=data.y_test)
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
