"""How many random patterns a dense associative memory can store.

Start at one of K random memories of N neurons. The difference of energy that holds one
neuron in place is a sum over memories: the memory itself gives the signal
``D(N - 1) = N^n - (N - 2)^n``, and each other one a noise of mean 0 and variance
``<D(r)^2>``, where ``D(r) = F(r + 1) - F(r - 1)`` and r is the overlap of the N - 1
other neurons, a sum of random signs. If K is large the noise is Gaussian, and the
neuron is unstable with the probability

    P_error = Q(signal / noise),    noise^2 = (K - 1) <D(r)^2>.

For large N, ``<D^2> = 4 n^2 (2n - 3)!! N^(n - 1)`` for the polynomial: section 2 of
Krotov & Hopfield 2016. A rectified polynomial has ``D(r) = 0`` for all negative r,
which is half of the noise's variance, and so stores twice as many memories at the same
error. By default the functions here take the mean over r for the given N instead of its
limit. The Gaussian remains an approximation, good while the memories that make the
noise are many and P_error is not tiny.

A polynomial of even power has the same energy at -sigma as at sigma: its memories come
in pairs, and a cue at an overlap of less than 0 leads to the negative.
"""

from .simulation import (
    HalfRecall,
    RecallTrials,
    half_recall_capacity,
    simulate_bit_error,
    simulate_recall,
)
from .theory import (
    alpha,
    expected_bit_error,
    max_memories,
    max_memories_without_errors,
    recovery_capacity,
)

__all__ = [
    "HalfRecall",
    "RecallTrials",
    "alpha",
    "expected_bit_error",
    "half_recall_capacity",
    "max_memories",
    "max_memories_without_errors",
    "recovery_capacity",
    "simulate_bit_error",
    "simulate_recall",
]
