"""Small faults, put into a copy of the package one at a time.

``python tests/faults.py`` tells which test notices each of them, or that it survived,
and takes ten minutes; ``--only 3 17`` tries the faults of these numbers. The package
itself is not changed. Faults whose code is no longer there are an error.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

# A line with the file, the tests to run and what is wrong; code after -, fault after +.
FAULTS = r"""
losses.py: losses backends: the margin of the error is half of what it is
- margin = 2 * targets * scores
+ margin = targets * scores

losses.py: losses backends: the gradient vanishes where the error is large
- -targets, log_error - below + math.log(4 * self.exponent)
+ -targets, log_error - above + math.log(4 * self.exponent)

losses.py: losses classifier: other classes claim more than even odds together
- log_odds = log_odds - xp.clip(second, min=0)
+ log_odds = log_odds - second

losses.py: losses: the odds of a label are those of its score, and not of twice it
- log_odds = 2 * targets * scores
+ log_odds = targets * scores

losses.py: multilabel: a sample is right if any of its labels is
- return xp.all((scores > 0) == (codes > 0), axis=1)
+ return xp.any((scores > 0) == (codes > 0), axis=1)

_backends/training.cu: cuda_source: labels of CUDA are those of other samples
- codes + (long long)rows[i] * (MULTILABEL ? CLASSES : 1),
+ codes + (long long)rows[i],

updates.py: updates backends: classification units start at +1
- return -xp.sum(connections, axis=1) / self.temperature
+ return xp.sum(connections, axis=1) / self.temperature

updates.py: updates classifier: repeated updates start with units at 0
- total = x + (states + 1) @ half.T
+ total = x + states @ half.T

learning_rule.py: backends: memories that never moved become NaN
- common = xp.where(common > -math.inf, common, xp.zeros_like(common))
+ pass

learning_rule.py: backends training: memories are not held above -1
- return xp.clip(memories + learning_rate * velocity.values, -1, 1), velocity
+ return xp.clip(memories + learning_rate * velocity.values, -2, 1), velocity

_backends/cpu.py: backends training: the largest component is that of the last tile
- np.maximum(peak, highest, out=peak)
+ peak = highest

_backends/cpu_losses.py: backends training: weights do not change the gradient
- delta += self.log_weights[a:b]
+ pass

_backends/cpu.py: backends training: compaction takes the weights of other samples
- delta, log_weight = delta[:, rows], log_weight[rows]
+ delta, log_weight = delta[:, rows], log_weight[: len(rows)]

_backends/cpu.py: backends training: velocities below the floor grow
- shard.divide_velocity(divisor[shard.columns].astype(self.dtype))
+ pass

_backends/cpu.py: backends training: memories at rest do not take a small gradient
- renewed = (at_rest | (log_new > 0)) & np.isfinite(log_new)
+ renewed = (log_new > 0) & np.isfinite(log_new)

_backends/cpu.py: backends: a trainer goes on without the scales of its velocities
- self.log_scales[finite] = log_scale[finite]
+ pass

_backends/cpu.py: backends training: no response in any shard gives NaN
- common[np.isneginf(common)] = 0
+ pass

_backends/cpu.py: backends training: the mean loss is not over the sum of the weights
- mass = n_samples if weights is None else weights.sum()
+ mass = n_samples

_backends/cpu_sparse.py: backends: features that are stored again count as resting
- self.resting = np.searchsorted(-following[starts], -steps)
+ self.resting = np.searchsorted(-following[starts], -steps, side="right")

_backends/cpu_sparse.py: backends: velocities outside the minibatch are forgotten
- np.maximum(peak, self.largest[v.step], out=peak)
+ pass

_backends/cpu_sparse.py: backends: a feature is not moved by the step that stored it
- self.pending[: v.step + 2] += peak
+ self.pending[: v.step + 1] += peak

_backends/cpu_sparse.py: backends: moves to come are made in the new unit of velocities
- self.settle()
-         super().divide_velocity(divisor, some)
+ super().divide_velocity(divisor, some)

_backends/cpu_sparse.py: inputs: features that are no longer stored come to rest
- moves |= shard.velocity[:n_visible].any(axis=1)
+ pass

_backends/inputs.py: inputs: zeros that are stored get noise
- values += np.where(values != 0, drawn, 0)
+ values += drawn

_backends/cpu_difference.py: backends training: too few overlaps count as near 0
- return np.flatnonzero(magnitude < 2 / self.temperature)
+ return np.flatnonzero(magnitude < 1 / self.temperature)

_backends/cpu_difference.py: backends training: terms that can be seen are left out
- return (1e-4 * np.finfo(dtype).eps) ** (1 / exponent)
+ return (1e4 * np.finfo(dtype).eps) ** (1 / exponent)

_backends/cpu_tiles.py: backends training: negative overlaps have no scale
- np.maximum(peak, -x.min(axis=axis), out=peak)
+ pass

_backends/cpu_energies.py: backends training: powers of small overlaps underflow
- power * abs(math.log(max(largest, 1e-300))) > room
+ power * math.log(max(largest, 1e-300)) > room

_backends/cpu_feedforward.py: backends training: dead overlaps count as alive
- np.greater(tile, 0, out=tile)
+ np.greater_equal(tile, 0, out=tile)

_backends/inputs.py: inputs training: minus 0 and 0 have different noise
- numbers = numbers.astype(np.float32) + np.float32(0)
+ numbers = numbers.astype(np.float32)

_backends/inputs.py: inputs training: unknown features have a hash of their own
- numbers[np.isnan(numbers)] = 0
+ pass

_backends/inputs.py: inputs training: noise does not follow the seed
- shifts = np.random.SeedSequence([seed, epoch]).generate_state(2)
+ shifts = np.random.SeedSequence([epoch]).generate_state(2)

_backends/inputs.py: inputs training: features that are kept are not scaled up
- return 1 / (1 - self.dropout)
+ return 1.0

_resolve.py: dead_memories classifier: dead memories are reinitialised to the end
- round(reinit * max_iter)
+ round(max_iter)

_resolve.py: classifier training: few samples are divided into nearly empty minibatches
- least = n_samples if n_samples < 2 * LEAST_BATCH else LEAST_BATCH
+ least = LEAST_BATCH

_resolve.py: classifier inputs: the temperature does not follow the intercept
- length = math.hypot(statistics.l2_norm, intercept)
+ length = statistics.l2_norm

_resolve.py: training classifier: the rate does not reach its last value
- progress = min(1.0, epoch / max(1, self.n_epochs - 1))
+ progress = min(1.0, epoch / max(1, self.n_epochs))

_samples.py: inputs classifier: what is not stored does not vary
- variance += unstored * mean**2
+ pass

_training.py: training classifier: any improvement starts the wait anew
- self.waited = 0 if value < self.best - margin else self.waited + 1
+ self.waited = 0 if value < self.best else self.waited + 1

_training.py: training classifier: validation data decide without early_stopping
- if run.best is not None and (early_stopping or run.interrupted):
+ if run.best is not None:

_training.py: training classifier: an interrupt leaves an unfinished epoch
- del curve[self.n_epochs :]
+ del curve[self.n_epochs + 1 :]

classifier.py: classifier training: partial_fit forgets the velocity
- n_epochs, curve, velocity = run.n_epochs, run.loss_curve, run.velocity
+ n_epochs, curve, velocity = run.n_epochs, run.loss_curve, None

_prediction.py: classifier scikit_learn: the score of two classes is that of the first
- return scores[:, 1] - scores[:, 0] if self.n_outputs_ == 1 else scores
+ return scores[:, 0] - scores[:, 1] if self.n_outputs_ == 1 else scores

_validation.py: classifier training: an interrupt leaves what was set
- except BaseException:
+ except Exception:

_validation.py: validation: masked values are what they would be
- if np.ma.is_masked(X):
+ if False:

_labels.py: validation: nullable labels become floats
- column_or_1d(labels if labels.dtype.kind in "biu" else y, warn=True)
+ column_or_1d(y, warn=True)

_backends/overlap_tables.py: validation: underflow in tables may be an error
- with np.errstate(under="ignore"):
+ if True:

_weights.py: classifier training: classes that y lacks may not have weights
- if strangers and unnamed:
+ if strangers:

_validation.py: classifier training: names of the features of X_val are not compared
- _check_feature_names(estimator, X, reset=False)
+ pass

_validation.py: classifier training: what a sparse matrix stores twice is not summed
- X.sum_duplicates()
+ pass

network.py: dead_memories: only the first samples show that memories live
- if alive.all():
+ if alive.any():

_training_data.py: training: validation rows have the weights of their classes
- validation.weights = validation.sample_weights
+ pass

_backends/cpu_losses.py: backends training: the mean loss is not weighted
- losses = losses * self.weights
+ pass

_diagnosis.py: classifier model_selection: a rare class that is lost is not looked at
- rows = np.union1d(np.arange(0, len(codes), step), first_of_each_class)
+ rows = np.arange(0, len(codes), step)

associative_memory.py: associative_memory: the score is the share of right neurons
- return float((self._recall(cues).states == target).all(axis=1).mean())
+ return float((self._recall(cues).states == target).mean())

_patterns.py: associative_memory: the threshold itself becomes +1
- states = np.where(X > threshold, 1, -1).astype(np.int8)
+ states = np.where(X >= threshold, 1, -1).astype(np.int8)

_backends/recall_cpu.py: recall associative_memory: rounding decides ties
- error = self.epsilon * np.abs(steps).sum(axis=1)
+ error = 0 * np.abs(steps).sum(axis=1)

_backends/overlap_tables.py: associative_memory recall: a user's energy has no rounding
- rounding = 4 * np.finfo(float).eps * size
+ rounding = 0 * size

capacity/theory.py: capacity: the memory itself counts among the noise
- least = (highest + int(n_memories - 1) * lowest) % spacing
+ least = (highest + int(n_memories) * lowest) % spacing

capacity/simulation.py: capacity: the error of the rate falls with the number of trials
- np.std(rates, ddof=1) / math.sqrt(n_trials)
+ np.std(rates, ddof=1) / n_trials

capacity/simulation.py: capacity: numbers of memories count alike, whatever their trials
- curve = LogisticRegression(C=1e6).fit(x, recovered, sample_weight=counts)
+ curve = LogisticRegression(C=1e6).fit(x, recovered, sample_weight=counts > 0)

inspection/memories.py: inspection: a mosaic is less than square
- n_columns = n_columns or math.ceil(math.sqrt(n_images))
+ n_columns = n_columns or math.floor(math.sqrt(n_images))

model_selection.py: model_selection: networks inside of pipelines share their seed
- if name == "random_state" or name.endswith("__random_state"):
+ if name == "random_state":

datasets.py: datasets: files with more than the images are read
- if not n_axes or len(content) != begin + math.prod(shape):
+ if not n_axes or len(content) < begin + math.prod(shape):

attention.py: continuous_memory: distances of few known components count as small ones
- x *= self.beta * states.shape[1] / xp.clip(n_known, min=1)
+ x *= self.beta

attention.py: continuous_memory: vectors with fewer common components count as nearer
- s *= n_features / xp.clip(n_common, min=1)
+ pass

continuous_energies.py: continuous_energies: the threshold of entmax is a step too low
- if not xp.any(step > -precision * tau):
+ if not xp.any(step > -1e9 * precision * tau):

continuous_energies.py: continuous_energies: the bound on entmax is above its threshold
- near = x >= largest + least / (self.alpha - 1)
+ near = x >= largest + least / 2

attention.py: continuous_memory: the last of the few weights does not count
- begins = np.searchsorted(place, np.arange(n_rows + 1) * n_vectors)
+ begins = np.searchsorted(place + 1, np.arange(n_rows + 1) * n_vectors)

continuous_energies.py: continuous_memory: kernels of small powers reach the closest
- if self.power < 3:
+ if self.power == 1:

_prediction.py: completion: what does not fit in the precision of X is infinite
- check_room(found.X, X)
+ pass

completion.py: completion: steps that raise the energy are taken
- falls = moves & (new_E <= E)
+ falls = moves

_samples.py: completion: an unknown value counts as 0 in the range of a feature
- for rows, part in _slices(X, keep_unknown=True):
+ for rows, part in _slices(X):

network.py: adversarial: classification units do not start at -1 in the gradient
- states = np.full((X.shape[0], self.n_classes), -1.0 if exact else 0.0)
+ states = np.full((X.shape[0], self.n_classes), 0.0)

tabular/blend.py: tabular: the blend takes the last kind, whatever its loss
- best = min(own, key=lambda name: _mean_loss(total + own[name], weights))
+ best = max(own)

tabular/blend.py: tabular: each part is judged on its own rows
- (np.flatnonzero(parts != part), np.flatnonzero(parts == part))
+ (np.flatnonzero(parts == part), np.flatnonzero(parts == part))

tabular/coding.py: tabular: states are not centred
- (_states(column, edges) - mean) / scale
+ _states(column, edges) / scale

_prediction.py: multilabel: a label that no memory knows is recalled
- return replace(found, y=xp.astype(found.states > 0, xp.int64))
+ return replace(found, y=xp.astype(found.states >= 0, xp.int64))

_diagnosis.py: multilabel: samples without a rare label stand for it
- first_of_each_class = codes.argmax(axis=0)
+ first_of_each_class = codes.argmin(axis=0)

inspection/adversarial.py: adversarial: what the last step reaches is not seen
- for n_steps in range(max_iter + 1):
+ for n_steps in range(max_iter):

_samples.py: inputs: weights are those of the first samples
- mean += part.T @ shares[rows]
+ mean += part.T @ shares[: part.shape[0]]

tabular/blend.py: tabular: one classifier is sharpened as the mean of many is
- total **= 1 + POWER_OF_MANY * (1 - 1 / len(models))
+ total **= 1 + POWER_OF_MANY

tabular/blend.py: tabular: the mean of several is not sharpened
- total **= 1 + POWER_OF_MANY * (1 - 1 / len(models))
+ total **= 1

tabular/coding.py: tabular: there are more states than rows
- n_edges = min(self.n_edges, max(1, len(X) // max(1, sum(is_coded)) - 1))
+ n_edges = self.n_edges

tabular/coding.py: tabular: states have the variance 1, whatever that of the column
- return deviation if deviation > LEAST_DEVIATION else 1.0
+ return 1.0

tabular/scaling.py: tabular: columns of no importance vanish
- self.scale_ = 1 + importances / (importances.mean() or 1.0)
+ self.scale_ = importances / (importances.mean() or 1.0)

tabular/scaling.py: tabular: scaled columns have been scaled twice
- reset=False) * self.scale_
+ reset=False) * self.scale_ * self.scale_

tabular/blend.py: tabular: a blend that learned nothing is silent
- if chance > 0 and n_rows * (chance - loss) < LEAST_GAIN:
+ if False:

tabular/blend.py: tabular: networks in a blend warn by their training rows
- token = judged_elsewhere.set(True)
+ token = judged_elsewhere.set(False)

tabular/blend.py: tabular: rows without a weight are trained on
- tuple(rows[part][weights[part] > 0] for part in split)
+ tuple(rows[part] for part in split)

tabular/blend.py: tabular: weights count as evidence
- n_rows = weights.sum() ** 2 / (weights**2).sum()
+ n_rows = len(weights)

tabular/__init__.py: tabular: the linear kind is rectified
- energy="polynomial"
+ energy="rectified_polynomial"

tabular/blend.py: tabular: rows without a weight are left out
- order = order[weights[order] > 0]
+ pass
"""

ROOT = Path(__file__).resolve().parents[1]


class Fault(NamedTuple):
    """A change of one place of the package, and the tests of which one should fail."""

    number: int
    file: str
    tests: list[str]
    title: str
    old: str
    new: str


def parse(text: str) -> list[Fault]:
    """Read the faults, which are numbered from 1."""
    faults = []
    for number, block in enumerate(text.strip().split("\n\n"), 1):
        head, *lines = block.split("\n")
        file, tests, title = head.split(": ", 2)
        old, new = (
            "\n".join(line[2:] for line in lines if line[0] == sign) for sign in "-+"
        )
        paths = [f"tests/test_{name}.py" for name in tests.split()]
        faults.append(Fault(number, f"skdam/{file}", paths, title, old, new))
    return faults


def run_pytest(copy: Path, *arguments: str) -> list[str]:
    """Run tests in a copy of the package; return the names of those that failed."""
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", "0", "--tb=no", *arguments],
        cwd=copy,
        # Two edits within a second may leave a file of the same age and size.
        env=os.environ | {"PYTHONPATH": ".", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
    )
    failed = re.findall(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", result.stdout, re.M)
    if (result.returncode == 0) == bool(failed):
        raise RuntimeError(f"pytest did not run:\n{result.stdout}{result.stderr}")
    return failed


def check_up_to_date(copy: Path, faults: list[Fault]) -> None:
    """End with an error if the code of a fault is not found exactly once."""
    errors = [
        f"Fault {fault.number} is out of date; {fault.file} holds {found} times:\n"
        f"{fault.old}"
        for fault in faults
        if (found := (copy / fault.file).read_text().count(fault.old)) != 1
    ]
    if errors:
        sys.exit("\n".join(errors))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", type=int, nargs="+", metavar="N")
    only = parser.parse_args().only
    faults = [f for f in parse(FAULTS) if only is None or f.number in only]
    survived = []
    with TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in ("skdam", "tests"):
            ignore = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, copy / name, ignore=ignore)
        shutil.copy(ROOT / "pyproject.toml", copy)
        check_up_to_date(copy, faults)
        broken = run_pytest(copy, *sorted({path for f in faults for path in f.tests}))
        for name in broken:
            print(f"Left out, since it fails without a fault: {name}", flush=True)
        without = [f"--deselect={name}" for name in broken]
        for fault in faults:
            path = copy / fault.file
            text = path.read_text()
            path.write_text(text.replace(fault.old, fault.new))
            failed = run_pytest(copy, "-x", *without, *fault.tests)
            path.write_text(text)
            if not failed:
                survived.append(fault.number)
            verdict = f"noticed by {failed[0]}" if failed else "SURVIVED"
            print(f"{fault.number:2} {fault.title}: {verdict}", flush=True)
    noticed = len(faults) - len(survived)
    print(f"{noticed} of {len(faults)} noticed; survived: {survived or 'none'}")
    sys.exit(bool(survived))


if __name__ == "__main__":
    main()
