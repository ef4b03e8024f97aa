"""Parameters that others have published, as keyword arguments of the classifier."""

from __future__ import annotations

from typing import Any

__all__ = ["preset"]


def preset(name: str, *, power: int = 3) -> dict[str, Any]:
    """Return the parameters of a publication.

    Parameters
    ----------
    name : {"krotov-hopfield-2016"}
        "krotov-hopfield-2016": training on MNIST as in the paper's appendix, from its
        start N(-0.3, 0.3) with K = 2000 memories, minibatches of 1000 and 3000 epochs
        of an exponentially falling learning rate. The paper gives ranges for momentum
        and learning rate; the values here lie within them. The final temperature is
        left to ``temperature="auto"``.
    power : int, default=3
        Power n of the interaction vertex. Powers above 3 start at a high temperature,
        lowered over the first 200 epochs, and take a larger error exponent.

    Returns
    -------
    dict
        Keyword arguments of :class:`~skdam.DenseAssociativeMemoryClassifier`.

    Raises
    ------
    ValueError
        If the name is unknown.

    Examples
    --------
    >>> from skdam import DenseAssociativeMemoryClassifier, preset
    >>> clf = DenseAssociativeMemoryClassifier(
    ...     **preset("krotov-hopfield-2016", power=2)
    ... )
    >>> clf.n_memories, clf.init_mean
    (2000, -0.3)
    """
    if name != "krotov-hopfield-2016":
        raise ValueError(f"preset {name!r} is unknown; known: 'krotov-hopfield-2016'.")
    parameters = {
        "n_memories": 2000,
        "power": power,
        "energy": "rectified_polynomial",
        "formulation": "feedforward",
        "loss": "power",
        "error_exponent": 3 if power < 3 else 10 if power == 3 else 30,
        "learning_rate_init": 0.02,
        "learning_rate": "exponential",
        "learning_rate_decay": 0.998,
        "momentum": 0.6 if power <= 3 else 0.9,
        "batch_size": 1000,
        "max_iter": 3000,
        "init_mean": -0.3,
        "init_std": 0.3,
        "tol": None,
        "gradient_tolerance": 0,
        "bias": 0,
        "revival": 0,
        "cue_noise": 0,
    }
    if power > 3:
        parameters |= {"initial_temperature": 700.0, "temperature_ramp": 200}
    return parameters
