"""scikit-learn's callbacks, where it has them (from 1.9 on)."""

from __future__ import annotations

from copy import deepcopy

try:
    from sklearn.callback import CallbackSupportMixin
except ImportError:

    class CallbackSupportMixin:
        """Stands in for the mixin of scikit-learn 1.9: no callbacks."""


__all__ = ["CallbackSupportMixin", "FitCallbacks"]


class FitCallbacks:
    """scikit-learn's callbacks around fit and each epoch; nothing before 1.9."""

    def __init__(self, estimator, n_epochs: int):
        self.estimator = estimator
        self.n_epochs = n_epochs
        self.context = None

    def begin_fit(self, X, y, sample_weight) -> None:
        """Start the callbacks, with the data as the user gave them."""
        estimator = self.estimator
        if not (
            getattr(estimator, "_skl_callbacks", None)
            or hasattr(estimator, "_parent_callback_ctx")
        ):
            return
        metadata = None if sample_weight is None else {"sample_weight": sample_weight}
        self.data = {"X": X, "y": y, "metadata": metadata}
        self.context = estimator._init_callback_context(max_subtasks=self.n_epochs)
        self.context.call_on_fit_task_begin(estimator=estimator, **self.data)

    @property
    def are_active(self) -> bool:
        return self.context is not None

    def begin_epoch(self) -> None:
        if self.are_active:
            self.epoch = self.context.subcontext(task_name="epoch")
            self.epoch.call_on_fit_task_begin(estimator=self.estimator, **self.data)

    def end_epoch(self) -> bool:
        """Tell whether a callback asks to stop."""
        return self.are_active and self._end(self.epoch)

    def end_fit(self) -> None:
        if self.are_active:
            self._end(self.context)

    def _end(self, context) -> bool:
        return context.call_on_fit_task_end(
            estimator=self.estimator,
            **self.data,
            # Copies: a callback may keep them, while training goes on in place.
            reconstruction_attributes=lambda: deepcopy(
                {
                    name: getattr(self.estimator, name)
                    for name in ("classes_", "network_", "best_iter_")
                }
            ),
        )
