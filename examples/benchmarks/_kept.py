"""A classifier that is trained once: what is finished is kept in a folder."""

from __future__ import annotations

import json
from pathlib import Path
from time import perf_counter

import joblib

from skdam import DenseAssociativeMemoryClassifier


class Kept(DenseAssociativeMemoryClassifier):
    """A classifier whose fit is read from a file where the same one was finished.

    The same fit has the same parameters and the same data, by shapes and labels. It
    holds the seconds that it took in ``fit_seconds_``. A fit that is interrupted is not
    kept, and ends the script.
    """

    folder: Path
    """Where the files are."""

    seconds: list[float] = []
    """Seconds of all fits of this run, those included that were only read."""

    def fit(self, X, y, sample_weight=None, *, X_val=None, y_val=None):
        path = self._path(X, y, y_val)
        if path.exists():
            vars(self).update(joblib.load(path))
        else:
            begin = perf_counter()
            super().fit(X, y, sample_weight, X_val=X_val, y_val=y_val)
            if self.n_iter_ < self.max_iter:
                raise KeyboardInterrupt
            self.fit_seconds_ = perf_counter() - begin
            fitted = {k: v for k, v in vars(self).items() if k.endswith("_")}
            self.folder.mkdir(parents=True, exist_ok=True)
            unfinished = path.with_suffix(".part")
            joblib.dump(fitted, unfinished)
            unfinished.replace(path)
        self.seconds.append(self.fit_seconds_)
        return self

    def _path(self, X, y, y_val) -> Path:
        parameters = json.dumps(self.get_params(), sort_keys=True, default=float)
        name = joblib.hash((parameters, X.shape, y, y_val))
        return self.folder / f"n{self.power}-{name}.joblib"
