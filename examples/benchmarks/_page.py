"""The figures of the reproduction, and its page beside the paper's numbers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from skdam.inspection import (
    DecisiveMemoriesDisplay,
    LearningCurvesDisplay,
    MemoriesDisplay,
    RecognitionUnitsDisplay,
    WindowDisplay,
)
from skdam.window import HyperparameterWindow, Trajectory

PAPER = {
    # power: test error of the sample shown, epochs of the first crossing of 2 %
    2: ("1.51 %", "179-312"),
    3: ("1.44 %", "158-262"),
    20: ("1.61 %", "earlier still"),
    30: ("1.80 %", "earlier still"),
}

HEADER = """\
# Reproduction of the paper's figures

What Krotov and Hopfield ([2016](https://arxiv.org/abs/1606.01164)) report of their
classifier on MNIST, and what skdam finds. This page and its figures are written by
`python examples/benchmarks/paper.py`, which also says how the networks were chosen;
every number is in the JSON file named with each table.

For each power n, hyperparameters were searched on 50 000 of the training images and
scored on the other 10 000. The *window* are the candidates whose validation error is at
most a margin above the smallest. Networks with parameters drawn from it were then
trained on all 60 000 images, and the test images were scored after each epoch. They
chose nothing: neither parameters nor epochs. Errors are those after the last epoch.
"""

TITLES = {
    "quick": "Trial on another data set",
    "short": "Short schedule",
    "full": "The paper's start and schedule",
}


def draw_network(
    path: Path, network: Trajectory, window: HyperparameterWindow, X: np.ndarray
) -> None:
    """Draw the memories of a network, both histograms, and the window it is from."""
    clf = network.estimator
    figure = Figure(figsize=(16, 3.8), layout="constrained")
    axes = figure.subplots(1, 4)
    MemoriesDisplay.from_estimator(clf, random_state=0, ax=axes[0])
    axes[0].set_title(f"n = {clf.power}: {100 * network.errors[-1]:.2f} %")
    RecognitionUnitsDisplay.from_estimator(clf, ax=axes[1])
    DecisiveMemoriesDisplay.from_estimator(clf, X, ax=axes[2])
    WindowDisplay.from_window(window, "temperature", "error_exponent", ax=axes[3])
    save(figure, path)


def draw_curves(path: Path, results: dict, threshold: float) -> None:
    """Draw the test errors of all networks in a report."""
    figure = Figure(figsize=(8, 5), layout="constrained")
    ax = figure.subplots()
    for number, (power, part) in enumerate(parts(results).items()):
        LearningCurvesDisplay(
            [np.array(network["errors"]) for network in part["networks"]],
            [network["first_epoch"] for network in part["networks"]],
            threshold,
        ).plot(ax, label=f"n = {power}", color=f"C{number}")
    ax.legend()
    save(figure, path)


def save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80)


def parts(results: dict) -> dict[int, dict]:
    """Return the results of each power, in order."""
    powers = sorted(int(key[2:]) for key in results if key.startswith("n="))
    return {power: results[f"n={power}"] for power in powers}


def write_page(path: Path, folder: Path) -> None:
    """Write the page from the reports in a folder."""
    sections = [HEADER]
    for schedule, title in TITLES.items():
        report = folder / f"paper_{schedule}.json"
        if report.exists():
            results = json.loads(report.read_text())
            sections.append(section(schedule, title, results))
    transition = folder / "transition.json"
    if transition.exists():
        sections.append(transition_section(json.loads(transition.read_text())))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(sections))


def section(schedule: str, title: str, results: dict) -> str:
    rows = parts(results)
    some = next(iter(rows.values()))
    settings = some["settings"]
    machine = results["machine"]
    lines = [
        f"## {title}",
        "",
        f"{settings['memories']} memories, {settings['epochs']} epochs; searched with "
        f"{settings['search_memories']} memories over {settings['search_epochs']} "
        f"epochs. Memories start with mean {settings['init_mean']:g} and standard "
        f"deviation {settings['init_std']:g}{revived(settings['revival'])}. "
        f"Computed on {settings['device']} ({machine['cpu']}, "
        f"{machine['cores']} cores), {some['date'][:10]}. Numbers: "
        f"`examples/benchmarks/results/paper_{schedule}.json`.",
        "",
        "### Test errors",
        "",
        *table(
            [
                "n",
                "networks",
                "test error, mean ± s.d.",
                "smallest to largest",
                "the paper's sample",
                "first epoch under 2 %",
                "in the paper",
                "seconds",
            ],
            [error_row(power, part) for power, part in rows.items()],
        ),
        "",
        f"![Test errors](_static/reproduction_{schedule}_curves.png)",
        "",
        "### The windows",
        "",
        "Temperatures are those of the search, and grow with K to the power of 1/n.",
        "",
        *table(
            ["n", "candidates", "in the window", "smallest error", "ranges", "seconds"],
            [window_row(power, part) for power, part in rows.items()],
        ),
        "",
        "### Features and prototypes",
        "",
        "Each number is the mean over the networks. A memory votes for the classes "
        "whose recognition connection is above 0.9. Memories are decisive for a test "
        "image if they contribute more than 0.9 of the largest contribution to the "
        "energy.",
        "",
        *table(
            [
                "n",
                "classes of a memory, median",
                "memories with exactly 1",
                "images with exactly 1 decisive memory",
                "images with more than 10",
                "memories that contribute to no test image",
            ],
            [transition_row(power, part) for power, part in rows.items()],
        ),
        "",
        "In the paper, memories typically have 3 classes at small n, and most have 1 "
        "at n = 30; many images have more than 10 decisive memories at small n, and "
        "about 8000 of the 10 000 have exactly 1 at n = 30.",
        "",
    ]
    for power in rows:
        name = f"_static/reproduction_{schedule}_n{power}.png"
        lines += [f"![n = {power}]({name})", ""]
    return "\n".join(lines)


def revived(share: float) -> str:
    if not share:
        return ""
    return (
        f"; silent ones are drawn anew in the first {100 * share:.0f} % of the epochs"
    )


TRANSITION = """\
## The start and the transition

At n = 2 a memory is decisive for an image if its overlap is within 5 % of the largest,
at n = 30 within 0.35 %. From a start of mean 0, in which memories soon point in very
different directions, hardly two come as close as that, whatever n; and of those that
overlap with the background less than with the digits many fall silent. From the
paper's start, at mean -0.3, all memories share a large overlap with the background, and
many are decisive at first. Training takes that away: at the lowest temperature below,
where little has been learned yet, most images have more than ten, and at a higher one
hardly any after 160 epochs. The single decisive memory at n = 30 comes out from either
start. So the long tail at n = 2 is not reproduced; whether it outlasts the paper's own
schedule, 3000 epochs of 2000 memories, takes `paper.py --full` on a GPU to tell.

Networks of 500 memories, from `python examples/benchmarks/transition.py`; numbers are
in `examples/benchmarks/results/transition.json`, counts over 2000 test images.
"""


def transition_section(results: dict) -> str:
    header = [
        "n",
        "mean of the start",
        "temperature",
        "epochs",
        "test error",
        "classes of a memory, median",
        "decisive memories, median",
        "images with exactly 1",
        "with more than 10",
        "silent memories",
    ]
    rows = [
        [
            str(found["power"]),
            f"{found['init_mean']:g}",
            str(found["temperature"]),
            str(found["max_iter"]),
            f"{100 * found['error']:.1f} %",
            f"{found['units_median']:g}",
            f"{found['decisive_median']:g}",
            *(
                f"{100 * found[name]:.0f} %"
                for name in ("one_decisive", "many_decisive", "silent")
            ),
        ]
        for found in results["networks"]["networks"]
    ]
    return "\n".join([TRANSITION, *table(header, rows), ""])


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [
        f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows)
    ]


def error_row(power: int, part: dict) -> list[str]:
    networks = part["networks"]
    errors = 100 * np.array([network["errors"][-1] for network in networks])
    spread = f" ± {errors.std(ddof=1):.2f}" if len(errors) > 1 else ""
    first = [network["first_epoch"] for network in networks]
    crossed = [epoch for epoch in first if epoch is not None]
    epochs = f"{min(crossed)}-{max(crossed)}" if crossed else "never"
    if crossed and len(crossed) < len(first):
        epochs += f", {len(first) - len(crossed)} never"
    seconds = np.mean([network["seconds"] for network in networks])
    return [
        str(power),
        str(len(networks)),
        f"{errors.mean():.2f}{spread} %",
        f"{errors.min():.2f} to {errors.max():.2f} %",
        PAPER[power][0],
        epochs,
        PAPER[power][1],
        f"{seconds:.0f} each",
    ]


def window_row(power: int, part: dict) -> list[str]:
    search = part["search"]
    ranges = ", ".join(
        f"{name} {' to '.join(f'{value:g}' for value in dict.fromkeys(values))}"
        for name, values in search["ranges"].items()
    )
    return [
        str(power),
        str(len(search["candidates"])),
        f"{search['window']}, within {100 * part['settings']['within']:g} %",
        f"{100 * search['candidates'][0]['error']:.2f} %",
        ranges,
        f"{search['seconds']:.0f}",
    ]


def transition_row(power: int, part: dict) -> list[str]:
    units = [np.array(n["memories_by_recognition_units"]) for n in part["networks"]]
    images = [np.array(n["images_by_decisive_memories"]) for n in part["networks"]]
    silent = sum(network["silent_memories"] for network in part["networks"])
    medians = [np.median(np.repeat(np.arange(len(u)), u)) for u in units]
    return [
        str(power),
        f"{np.mean(medians):.1f}",
        f"{share(units, 1):.0f} %",
        f"{share(images, 1):.0f} %",
        f"{share(images, 11):.0f} %",
        f"{100 * silent / sum(u.sum() for u in units):.0f} %",
    ]


def share(histograms: list[np.ndarray], number: int) -> float:
    """Return the percentage of a number, the mean over the networks."""
    return float(
        np.mean([100 * h[number : number + 1].sum() / h.sum() for h in histograms])
    )
