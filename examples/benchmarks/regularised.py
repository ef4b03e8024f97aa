"""How low the error on MNIST gets if a network learns from adversarial images.

    python examples/benchmarks/regularised.py --mnist FOLDER --resume

Before each step, every pixel of the minibatch is moved by ``size`` in the direction
that raises the loss of the network as it is (the fast gradient sign of Goodfellow,
Shlens and Szegedy, 2015), and the step is taken on these images. Nothing depends on
which pixels are neighbours. The loop is short and can be copied: :func:`deceptive` and
``partial_fit``.

networks
    Networks of three seeds on all training images: the test error of each and of the
    mean of their probabilities, and how large a change deceives them.
peer
    The same for PyTorch: one hidden layer of as many units with dropout, trained by
    Adam.
small
    What this does to smaller networks in fewer epochs, trained on five sixths of the
    training images and tested on the rest: with several sizes and powers, with dropout,
    and with neither.

A step takes four products: overlaps and gradients of the images as they are, and then
those of a usual step, in which few samples are followed (``gradient_tolerance``).
Results go to ``results/regularised.json`` and to tables of ``docs/adversarial.md``.
``--resume`` goes on with a network that was stopped, from a file in
``results/regularised``. ``--quick`` tries everything on digits in seconds.
"""

from __future__ import annotations

import json
from pathlib import Path
from time import perf_counter, process_time

import joblib
import numpy as np
from _measure import EpochClock, Options, Report, held_out, keep, load_images
from _page import fill, table
from _peers import fit_torch, torch

from skdam import DenseAssociativeMemoryClassifier
from skdam.inspection import adversarial_examples
from skdam.network import Network

N_UNTOUCHED = 2
"""Epochs before the images are changed."""

REDRAWN = 0.4
"""Share of the epochs after which memories that respond to no image are drawn anew.

Changed images have much in common at first, and many memories die of it.
"""

SAVE_EVERY = 5
"""Epochs between two files of a network in training."""

CHOSEN = {"power": 4, "size": 0.2, "temperature": 45.0}

CANDIDATES = {
    # what is changed of the network; size 0 changes no image
    "no change": {"power": 4, "size": 0.0},
    "dropout 0.5": {"power": 4, "size": 0.0, "input_dropout": 0.5},
    "size 0.1": {"power": 4, "size": 0.1},
    "size 0.2": {"power": 4, "size": 0.2},
    "size 0.3": {"power": 4, "size": 0.3},
    "size 0.2, n = 3": {"power": 3, "size": 0.2},
    "size 0.2, n = 6": {"power": 6, "size": 0.2},
}


def main() -> None:
    options = Options(__doc__, parts=("networks", "peer", "small"), docs=True)
    options.add_argument("--resume", action="store_true", help="go on where it stopped")
    options.size("memories", "K, and hidden units of the peer", 2000, quick=40)
    options.size("epochs", "of each network", 90, quick=12)
    options.size("seeds", "networks of each kind", 3, quick=2)
    options.size("peer-epochs", "of the peer", 60, quick=12)
    options.size("small-memories", "K of the smaller networks", 500, quick=40)
    options.size("small-epochs", "of the smaller networks", 12, quick=6)
    options.size("images", "to deceive a network with", 200, quick=10)
    args = options.parse()
    data = load_images(args)
    name = "digits" if args.quick else "mnist"
    report = Report(args.output / "regularised.json", name)
    folder = args.output / "regularised"
    for part in args.parts:
        found = report.part(part, keep=args.resume, **sizes(args, part))
        globals()[part](found, report, data, folder, args)
        report.save()
    print(fill(args.docs / "adversarial.md", blocks(report.results)))
    print(f"Results are in {args.output}, the page is in {args.docs}.")


def sizes(args, part: str) -> dict:
    if part == "small":
        return {"memories": args.small_memories, "epochs": args.small_epochs}
    epochs = args.peer_epochs if part == "peer" else args.epochs
    return {"memories": args.memories, "epochs": epochs}


# Training


def deceptive(network: Network, X: np.ndarray, codes: np.ndarray, size: float):
    """Return images that differ by ``size`` in each pixel, to the network's harm.

    Only the signs of the gradient count, so that common factors are left out. For the
    feedforward form of a rectified polynomial, without an intercept.
    """
    n, T = network.energy.power, np.float32(network.temperature)
    memories, connections = network.memories, network.recognition_connections
    rectified = np.maximum(X @ memories.T / T, 0)
    slopes = rectified ** (n - 2)
    scores = 2 * n / T * ((rectified * slopes) @ connections)
    targets = np.where(codes[:, None] == np.arange(scores.shape[1]), 1, -1)
    delta = network.loss.evaluate(scores, targets.astype(scores.dtype)).delta
    gradient = (slopes * (delta @ connections.T)) @ memories
    return np.clip(X + np.float32(size) * np.sign(gradient), -1, 1)


def draw_dead_anew(network: Network, X: np.ndarray, rng: np.random.Generator) -> None:
    dead = (X @ network.memories.T <= 0).all(axis=0)
    drawn = rng.normal(0, 0.3, (len(network.weights), dead.sum()))
    network.weights[:, dead] = drawn.clip(-1, 1)


def train(
    X,
    y,
    seed: int,
    *,
    memories: int,
    epochs: int,
    power: int,
    size: float,
    file: Path,
    **more,
) -> dict:
    """Train a network, or go on with it; return it and its seconds."""
    state = joblib.load(file) if file.exists() else None
    if state is None:
        begin, cpu = perf_counter(), process_time()
        clf = DenseAssociativeMemoryClassifier(
            memories,
            power=power,
            error_exponent=2,
            learning_rate_init=0.01,
            learning_rate="constant",
            momentum=0.93,
            batch_size=min(500, len(X) // 10),
            max_iter=N_UNTOUCHED,
            init=(0.0, 0.3),
            gradient_tolerance=0.1,
            reinit_dead=1.0,
            intercept_scaling=0,
            input_noise=0,
            tol=None,
            random_state=seed,
            device="cpu",
            **more,
        ).fit(X, y)
        rng = np.random.default_rng(seed)
        state = {"clf": clf, "rng": rng, "epoch": N_UNTOUCHED}
        state |= {"seconds": perf_counter() - begin, "cpu": process_time() - cpu}
    clf, rng = state["clf"], state["rng"]
    while state["epoch"] < epochs:
        begin, cpu = perf_counter(), process_time()
        progress = state["epoch"] / (epochs - 1)
        clf.set_params(learning_rate_init=0.01 * (1 - 0.98 * progress))
        for rows in np.array_split(rng.permutation(len(X)), len(X) // clf.batch_size):
            images = X[rows]
            if size:
                images = deceptive(clf.network_, images, y[rows], size)
            clf.partial_fit(images, y[rows])
        if state["epoch"] < REDRAWN * epochs:
            draw_dead_anew(clf.network_, X[:: len(X) // 2000 + 1], rng)
        state["epoch"] += 1
        state["seconds"] += perf_counter() - begin
        state["cpu"] += process_time() - cpu
        if state["epoch"] % SAVE_EVERY == 0 or state["epoch"] == epochs:
            keep(state, file)
    return state


def named(folder: Path, name: str, args, settings: dict) -> Path:
    """Return the file of a network; without --resume, of a new one."""
    file = folder / f"{joblib.hash((name, settings, args.quick))[:12]}.joblib"
    if not args.resume:
        file.unlink(missing_ok=True)
    return file


def percent(wrong: np.ndarray) -> float:
    return 100 * float(np.mean(wrong))


# Parts


def small(part: dict, report: Report, data, folder: Path, args) -> None:
    X, y, X_held, y_held = held_out(data.X_train, data.y_train)
    for name, settings in CANDIDATES.items():
        settings = settings | sizes(args, "small")
        if name in part and part[name]["parameters"] == settings:
            continue
        file = named(folder, name, args, settings)
        state = train(X, y, 0, file=file, **settings)
        error = percent(state["clf"].predict(X_held) != y_held)
        part[name] = {"parameters": settings, "error": error, "cpu": state["cpu"]}
        report.save()
        print(f"small: {name}: {error:.2f} %", flush=True)


def networks(part: dict, report: Report, data, folder: Path, args) -> None:
    settings = CHOSEN | sizes(args, "networks")
    if args.quick:
        settings["temperature"] = "auto"
    X, y = data.X_train, data.y_train
    part["parameters"], part["seeds"], total = settings, [], 0
    for seed in range(args.seeds):
        file = named(folder, f"seed {seed}", args, settings)
        state = train(X, y, seed, file=file, **settings)
        clf = state["clf"]
        p = clf.predict_proba(data.X_test)
        error = percent(clf.classes_[p.argmax(axis=1)] != data.y_test)
        images = data.X_test[: args.images]
        change = adversarial_examples(clf, images, bounds=(-1, 1), max_iter=150)
        part["seeds"].append(
            {
                "error": error,
                "seconds": state["seconds"],
                "cpu": state["cpu"],
                "change": float(np.median(change.distances)),
            }
        )
        total = total + p
        part["error_of_mean"] = percent(
            clf.classes_[total.argmax(axis=1)] != data.y_test
        )
        report.save()
        print(f"networks: seed {seed}: {error:.2f} %", flush=True)


def peer(part: dict, report: Report, data, folder: Path, args) -> None:
    if torch is None:
        print("PyTorch is not installed; its row is left out.")
        return
    X, y = data.X_train, data.y_train
    parameters = {
        "hidden_units": args.memories,
        "dropout": (0.2, 0.5),  # as in Srivastava et al., 2014
        "max_lr": 2e-3,
        "batch_size": min(500, len(X) // 10),
        "max_iter": args.peer_epochs,
    }
    part["seeds"] = part.get("seeds", [])
    for seed in range(len(part["seeds"]), args.seeds):
        begin, cpu = perf_counter(), process_time()
        network = fit_torch(parameters, X, y, seed, EpochClock())
        seconds = perf_counter() - begin, process_time() - cpu
        error = percent(network.predict(data.X_test) != data.y_test)
        part["seeds"].append({"error": error, "seconds": seconds[0], "cpu": seconds[1]})
        report.save()
        print(f"peer: seed {seed}: {error:.2f} %", flush=True)


# The page


def blocks(results: dict) -> dict[str, str]:
    results = json.loads(json.dumps(results))
    found = {}
    machine = results["machine"]
    first = (
        f"{machine['cpu']}, {machine['cores']} cores, skdam "
        f"{machine['versions']['skdam']}"
    )
    if "small" in results:
        part = results["small"]
        rows = [
            {"network": name, "error": f"{row['error']:.2f} %"}
            for name, row in part.items()
            if isinstance(row, dict) and "error" in row
        ]
        found["training small"] = (
            f"{part['settings']['memories']} memories, {part['settings']['epochs']} "
            f"epochs; {first}, {part['date'][:10]}.\n\n{table(rows)}"
        )
    rows = []
    if "networks" in results:
        part = results["networks"]
        rows.append(summary("skdam, adversarial images", part))
        mean = {"test error": f"{part['error_of_mean']:.2f} %"}
        name = f"skdam, mean of {len(part['seeds'])}"
        rows.append(dict.fromkeys(rows[0], "") | {"network": name} | mean)
    if results.get("peer", {}).get("seeds"):
        rows.append(summary("PyTorch, dropout", results["peer"]))
    if rows:
        part = results.get("networks") or results["peer"]
        found["training errors"] = (
            f"{part['settings']['memories']} memories or hidden units, CPU seconds of "
            f"one thread; {first}, {part['date'][:10]}.\n\n{table(rows)}"
        )
    return found


def summary(name: str, part: dict) -> dict[str, str]:
    seeds = part["seeds"]
    errors = [row["error"] for row in seeds]
    spread = f" ± {np.std(errors, ddof=1):.2f}" if len(errors) > 1 else ""
    changes = [row["change"] for row in seeds if "change" in row]
    return {
        "network": name,
        "epochs": str(part["settings"]["epochs"]),
        "test error": f"{np.mean(errors):.2f}{spread} %",
        "CPU seconds each": f"{np.mean([row['cpu'] for row in seeds]):.0f}",
        "smallest change that deceives it": (
            f"{np.mean(changes):.2f}" if changes else ""
        ),
    }


if __name__ == "__main__":
    main()
