"""Pages with generated tables; the figures and tables of the reproduction.

A page holds its own text. What a benchmark writes is between two comments of the page.
"""

from __future__ import annotations

import json
import math
from itertools import groupby
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from skdam.figures import figure_1
from skdam.inspection import DecisiveMemoriesDisplay, RecognitionUnitsDisplay
from skdam.model_selection import TrainingRun

PAPER = {
    # power: test error of the sample shown, epochs of the first crossing of 2 %
    2: ("1.51 %", "179-312"),
    3: ("1.44 %", "158-262"),
    20: ("1.61 %", "earlier still"),
    30: ("1.80 %", "earlier still"),
}

COUNTS = {
    "memories_by_recognition_units": lambda counts: RecognitionUnitsDisplay(counts, 10),
    "images_by_decisive_memories": DecisiveMemoriesDisplay,
}

TITLES = {
    "quick": "Trial on another data set",
    "short": "Short schedule",
    "full": "The paper's start and schedule",
}


def fill(path: Path, blocks: dict[str, str]) -> str:
    """Replace blocks of a page, add those that it lacks, and return the page."""
    page = path.read_text() if path.exists() else ""
    for name, text in blocks.items():
        begin, end = f"<!-- {name}: written by a script -->", f"<!-- {name}: end -->"
        before, found, after = page.partition(begin)
        _, _, after = after.partition(end) if found else ("", "", "\n")
        page = f"{before}{begin}\n\n{text}\n{end}{after}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page)
    return page


def table(rows: list[dict[str, str]]) -> str:
    """Tabulate rows, whose keys are the columns' names."""
    cells = [list(rows[0]), ["---"] * len(rows[0]), *(row.values() for row in rows)]
    return "".join(f"| {' | '.join(row)} |\n" for row in cells)


def save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)


# Figures of the reproduction


def draw_counts(path: Path, results: dict) -> None:
    """Draw both histograms of the first network of each power."""
    figure = Figure(figsize=(8.3, 4.4), layout="constrained")
    powers = parts(results)
    axes = figure.subplots(2, len(powers), squeeze=False)
    for column, (power, part) in enumerate(powers.items()):
        network = part["networks"][0]
        for ax, (name, display) in zip(axes[:, column], COUNTS.items(), strict=True):
            counts = np.repeat(np.arange(len(network[name])), network[name])
            display(counts).plot(ax)
            if column:
                ax.set_ylabel("")
        axes[0, column].set(title=f"n = {power}", xticks=[0, 5, 10])
        axes[0, column].set_xlabel("Classes voted for")
        axes[1, column].set_xticks([1, 5, 11], ["1", "5", ">10"])
    save(figure, path)


def draw_curves(path: Path, results: dict, threshold: float) -> None:
    """Draw the test errors of one network of each power, that of the median error."""
    figure = Figure(figsize=(8.3, 4.5), layout="constrained")
    runs = {}
    for power, part in parts(results).items():
        networks = sorted(part["networks"], key=lambda network: network["errors"][-1])
        errors = np.array(networks[len(networks) // 2]["errors"])
        runs[power] = [TrainingRun({}, errors, threshold, None, 0.0)]
    save(figure_1(runs, ax=figure.subplots()), path)


def parts(results: dict) -> dict[int, dict]:
    """Return the results of each power, in order."""
    powers = sorted(int(key[2:]) for key in results if key.startswith("n="))
    return {power: results[f"n={power}"] for power in powers}


def draw_long_run(path: Path, networks: dict[str, dict]) -> None:
    """Draw test errors, and the share of images with many decisive memories."""
    figure = Figure(figsize=(13, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    for i, (name, found) in enumerate(networks.items()):
        line = ".-" if i < 10 else ".--"  # There are ten colours.
        epochs = [int(epoch) for epoch in found["epochs"]]
        counts = list(found["epochs"].values())
        images = [np.array(each["images_by_decisive_memories"]) for each in counts]
        left.loglog(epochs, [100 * each["error"] for each in counts], line, label=name)
        right.semilogx(epochs, [100 * share(each, 11) for each in images], line)
    left.set(xlabel="Epoch", ylabel="Test error, %")
    right.set(xlabel="Epoch", ylabel="Images with more than 10 decisive memories, %")
    figure.legend(loc="outside right center", fontsize="small")
    save(figure, path)


# Tables of the reproduction


def write_page(path: Path, folder: Path) -> None:
    """Fill the page from the reports in a folder."""
    blocks = {}
    for schedule in TITLES:
        report = folder / f"paper_{schedule}.json"
        if report.exists():
            blocks[schedule] = section(schedule, json.loads(report.read_text()))
    report = folder / "transition.json"
    if report.exists():
        networks = json.loads(report.read_text())["networks"]["networks"]
        blocks["transition"] = table([*map(start_row, networks)])
    report = folder / "long_run.json"
    if report.exists():
        results = json.loads(report.read_text())
        if windows := long_windows(results.get("windows", {})):
            blocks["long run: windows"] = table([*map(long_window_row, windows)])
        for part in ("networks", "changes"):
            found = results.get(part, {})
            networks = {
                name: network
                for name, network in found.items()
                if isinstance(network, dict) and network.get("epochs")
            }
            if networks:
                rows = [long_row(*item) for item in networks.items()]
                blocks[f"long run: {part}"] = table(rows)
                static = path.parent / "_static"
                draw_long_run(static / f"reproduction_long_{part}.png", networks)
    report = folder / "large_powers.json"
    if report.exists():
        results = json.loads(report.read_text())
        rows = [
            power_row(data, power, found)
            for data in ("digits", "mnist")
            for power, found in results.get(data, {}).items()
            if power.startswith("n=") and "best" in found
        ]
        blocks["large powers"] = table(rows)
    fill(path, blocks)


def section(schedule: str, results: dict) -> str:
    powers = parts(results)
    some = next(iter(powers.values()))
    settings, machine = some["settings"], results["machine"]
    # Reports of skdam 0.1 call it revival.
    share = settings.get("reinit_dead", settings.get("revival"))
    dead = f"; dead ones are reinitialised in the first {100 * share:.0f} % of epochs"
    static = f"_static/reproduction_{schedule}"
    lines = [
        f"## {TITLES[schedule]}\n",
        f"{settings['memories']} memories, {settings['epochs']} epochs; searched with "
        f"{settings['search_memories']} memories over {settings['search_epochs']} "
        f"epochs. Memories are drawn with mean {settings['init_mean']:g} and standard "
        f"deviation {settings['init_std']:g}{dead if share else ''}. Computed on "
        f"{settings['device']} ({machine['cpu']}, {machine['cores']} cores) with skdam "
        f"{machine['versions']['skdam']}, {some['date'][:10]}. Numbers: "
        f"`examples/benchmarks/results/paper_{schedule}.json`.\n",
        "### Test errors\n",
        table([error_row(power, part) for power, part in powers.items()]),
        f"![Test errors]({static}_curves.png)\n",
        "### The windows\n",
        "Temperatures are those of the search, and grow with K to the power of 1/n.\n",
        table([window_row(power, part) for power, part in powers.items()]),
        "### Features and prototypes\n",
        "Each number is the mean over the networks.\n",
        table([transition_row(power, part) for power, part in powers.items()]),
        f"![Histograms of the first network of each power]({static}_counts.png)\n",
    ]
    return "\n".join(lines)


def error_row(power: int, part: dict) -> dict[str, str]:
    networks = part["networks"]
    errors = 100 * np.array([network["errors"][-1] for network in networks])
    deviation = f" ± {errors.std(ddof=1):.2f}" if len(errors) > 1 else ""
    first = [network["first_epoch"] for network in networks]
    crossed = [epoch for epoch in first if epoch is not None]
    epochs = f"{min(crossed)}-{max(crossed)}" if crossed else "never"
    if crossed and len(crossed) < len(first):
        epochs += f", {len(first) - len(crossed)} never"
    seconds = np.mean([network["seconds"] for network in networks])
    return {
        "n": str(power),
        "networks": str(len(networks)),
        "test error, mean ± s.d.": f"{errors.mean():.2f}{deviation} %",
        "smallest to largest": f"{errors.min():.2f} to {errors.max():.2f} %",
        "the paper's sample": PAPER[power][0],
        "first epoch under 2 %": epochs,
        "in the paper": PAPER[power][1],
        "seconds": f"{seconds:.0f} each",
    }


def window_row(power: int, part: dict) -> dict[str, str]:
    search = part["search"]
    ranges = ", ".join(
        f"{name} {' to '.join(f'{value:g}' for value in dict.fromkeys(values))}"
        for name, values in search["ranges"].items()
    )
    return {
        "n": str(power),
        "candidates": str(len(search["candidates"])),
        "in the window": f"{search['window']}, within "
        f"{100 * part['settings']['within']:g} %",
        "smallest error": f"{100 * search['candidates'][0]['error']:.2f} %",
        "ranges": ranges,
        "seconds": f"{search['seconds']:.0f}",
    }


def transition_row(power: int, part: dict) -> dict[str, str]:
    networks = part["networks"]
    units = [np.array(n["memories_by_recognition_units"]) for n in networks]
    images = [np.array(n["images_by_decisive_memories"]) for n in networks]
    unused = sum(network["silent_memories"] for network in networks)
    unused = 100 * unused / sum(counts.sum() for counts in units)
    medians = [np.median(np.repeat(np.arange(len(u)), u)) for u in units]

    def share(histograms: list[np.ndarray], number: int) -> str:
        shares = [h[number : number + 1].sum() / h.sum() for h in histograms]
        return f"{100 * np.mean(shares):.0f} %"

    return {
        "n": str(power),
        "classes of a memory, median": f"{np.mean(medians):.1f}",
        "memories with exactly 1": share(units, 1),
        "images with exactly 1 decisive memory": share(images, 1),
        "images with more than 10": share(images, 11),
        "memories that contribute to no test image": f"{unused:.0f} %",
    }


def start_row(found: dict) -> dict[str, str]:
    return {
        "n": str(found["power"]),
        "mean of the start": f"{found['init_mean']:g}",
        "temperature": str(found["temperature"]),
        "epochs": str(found["max_iter"]),
        "test error": f"{100 * found['error']:.1f} %",
        "classes of a memory, median": f"{found['units_median']:g}",
        "decisive memories, median": f"{found['decisive_median']:g}",
        "images with exactly 1": f"{100 * found['one_decisive']:.0f} %",
        "with more than 10": f"{100 * found['many_decisive']:.0f} %",
        "memories that contribute to no image": f"{100 * found['silent']:.0f} %",
    }


def long_row(name: str, found: dict) -> dict[str, str]:
    """Describe a network of the long run after the last epoch that was counted."""
    last = max(found["epochs"], key=int)
    counts = found["epochs"][last]
    units = np.array(counts["memories_by_recognition_units"])
    images = np.array(counts["images_by_decisive_memories"])
    return {
        "network": name,
        "temperature": f"{found.get('temperature', math.nan):.0f}",
        "epochs": last,
        "test error": f"{100 * counts['error']:.2f} %",
        "connections beyond ±0.9": f"{100 * counts['near_one']:.0f} %",
        "classes of a memory, median": f"{median(units):g}",
        "decisive memories, median": f"{median(images):g}",
        "images with exactly 1": f"{100 * share(images, 1):.0f} %",
        "with more than 10": f"{100 * share(images, 11):.1f} %",
    }


def long_windows(part: dict) -> list[list[dict]]:
    """Return candidates that differ in the temperature only, in its order."""
    found = [item for item in part.values() if isinstance(item, dict) and "m" in item]
    found.sort(key=lambda item: (*searched(item), item["temperature"]))
    return [list(group) for _, group in groupby(found, searched)]


def searched(item: dict) -> tuple:
    return item["power"], item["epochs"], -item["m"], -item["rate"]


def long_window_row(window: list[dict]) -> dict[str, str]:
    some, best = window[0], min(window, key=lambda item: item["error"])
    errors = [
        f"{item['temperature']:.0f}: {100 * item['error']:.1f}" for item in window
    ]
    images = np.array(best["images_by_decisive_memories"])
    on_edge = best in (window[0], window[-1])
    return {
        "n": str(some["power"]),
        "epochs": str(some["epochs"]),
        "m": str(some["m"]),
        "rate": f"{some['rate']:g}",
        "temperature: held-out error, %": ", ".join(errors),
        "smallest": f"{100 * best['error']:.2f} % at {best['temperature']:.0f}",
        "on an edge": "yes" if on_edge else "no",
        "there, images with 1 decisive memory": f"{100 * share(images, 1):.0f} %",
        "with more than 10": f"{100 * share(images, 11):.0f} %",
    }


def median(histogram: np.ndarray) -> float:
    return np.median(np.repeat(np.arange(len(histogram)), histogram))


def share(histogram: np.ndarray, number: int) -> float:
    return histogram[number : number + 1].sum() / histogram.sum()


def power_row(data: str, power: str, found: dict) -> dict[str, str]:
    """Compare the defaults with the best of the grid at one power."""
    grid, chosen = found["grid"], found["best"]
    defaults = next(point for point in grid if point["steps"] == [0, 0])
    best = next(point for point in grid if point["steps"] == chosen)

    def error(point: dict) -> str:
        return f"{100 * np.mean(point['errors']):.1f} %"

    return {
        "images": {"mnist": "MNIST"}.get(data, data),
        "n": power.removeprefix("n="),
        "automatic temperature": f"{defaults['temperature']:.3g}",
        "error with the defaults": error(defaults),
        "with the best of the grid": error(best),
        "its rate": f"{best['learning_rate_init']:g}",
        "its temperature over the automatic one": (
            f"{best['temperature'] / defaults['temperature']:.2g}"
        ),
        "with the temperature of n = 3": error(found["same_temperature"]),
    }
