"""Messages along edges: harmonics coupled to the sender's features, weighted by path and channel.

    out_t,i,c = Σ_(e: j → i) Σ_o W_e,p(o),c Σ_fy T_ofy Y_ye X_f,j,c        t = t(o)

All that belongs to an edge, the (o, c) products above all, stays in registers and the nearest
cache. Linear in X, Y and W, so that derivatives of any order are made of these two loops.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from eqmm_ase.kernels.compiler import compiled


class MessageTable(NamedTuple):
    """Coupling coefficients T_ofy that are not zero, by output o, feature f and harmonic y."""

    n_components: int  # of the result
    path: Any  # (o,) of an output
    target: Any  # (o,) component that an output adds to
    first_pair: Any  # (o+1,) of an output's (o, f)
    feature: Any  # (pairs,)
    first_term: Any  # (pairs+1,) of a pair's harmonics
    harmonic: Any  # (terms,)
    coefficient: Any  # (terms,)

    @classmethod
    def of(cls, tensor: Any, path: Any, target: Any, n_components: int) -> MessageTable:
        """From T (o, f, y), dense, p(o), t(o), and the number of components."""
        pairs = np.argwhere(tensor.any(2))
        terms = [np.flatnonzero(tensor[o, f]) for o, f in pairs]
        coefficients = [tensor[o, f][own] for (o, f), own in zip(pairs, terms, strict=True)]
        return cls(
            n_components,
            path,
            target,
            np.searchsorted(pairs[:, 0], np.arange(len(path) + 1)),
            pairs[:, 1].copy(),
            np.cumsum([0, *map(len, terms)]),
            np.concatenate(terms),
            np.concatenate(coefficients),
        )

    def astype(self, dtype: Any) -> MessageTable:
        """With coefficients of a type."""
        return self._replace(coefficient=self.coefficient.astype(dtype))


def send(
    table: MessageTable, features: Any, harmonics: Any, weights: Any, sender: Any, receiver: Any
) -> Any:
    """Sum of the messages at their receivers.

    Parameters
    ----------
    table: of the arrays' type.
    features: X, (f, n, c); all arrays are contiguous.
    harmonics: Y, (E, y).
    weights: W, (E, p, c).
    sender, receiver: (E,).

    Returns
    -------
    (t, n, c).
    """
    out = np.zeros((table.n_components, *features.shape[1:]), features.dtype)
    _send(features, harmonics, weights, sender, receiver, table, out)
    return out


def send_back(
    table: MessageTable,
    features: Any,
    harmonics: Any,
    weights: Any,
    sender: Any,
    receiver: Any,
    grad: Any,
) -> tuple[Any, Any, Any]:
    """Derivatives of Σ grad · `send` by features, harmonics and weights, in their shapes."""
    out = np.zeros_like(features), np.zeros_like(harmonics), np.zeros_like(weights)
    _send_back(features, harmonics, weights, sender, receiver, table, grad, *out)
    return out


@compiled
def _steer(harmonics, table, steering):  # type: ignore[no-untyped-def]
    """K_of = Σ_y T_ofy Y_y of an edge."""
    for pair in range(len(steering)):
        value = harmonics.dtype.type(0)
        for term in range(table.first_term[pair], table.first_term[pair + 1]):
            value += table.coefficient[term] * harmonics[table.harmonic[term]]
        steering[pair] = value


@compiled
def _send(features, harmonics, weights, sender, receiver, table, out):  # type: ignore[no-untyped-def]
    channels = features.shape[2]
    steering = np.empty(len(table.feature), features.dtype)
    for edge in range(len(sender)):
        i, j = receiver[edge], sender[edge]
        _steer(harmonics[edge], table, steering)
        for o in range(len(table.path)):
            p, t = table.path[o], table.target[o]
            pair, end = table.first_pair[o], table.first_pair[o + 1]
            while pair + 1 < end:
                f0, f1 = table.feature[pair], table.feature[pair + 1]
                k0, k1 = steering[pair], steering[pair + 1]
                for c in range(channels):
                    product = k0 * features[f0, j, c] + k1 * features[f1, j, c]
                    out[t, i, c] += weights[edge, p, c] * product
                pair += 2
            if pair < end:
                f0, k0 = table.feature[pair], steering[pair]
                for c in range(channels):
                    out[t, i, c] += weights[edge, p, c] * (k0 * features[f0, j, c])


@compiled
def _send_back(  # type: ignore[no-untyped-def]
    features,
    harmonics,
    weights,
    sender,
    receiver,
    table,
    grad,
    by_features,
    by_harmonics,
    by_weights,
):
    channels = features.shape[2]
    steering = np.empty(len(table.feature), features.dtype)
    for edge in range(len(sender)):
        i, j = receiver[edge], sender[edge]
        _steer(harmonics[edge], table, steering)
        for o in range(len(table.path)):
            p, t = table.path[o], table.target[o]
            for pair in range(table.first_pair[o], table.first_pair[o + 1]):
                f, factor, by_steering = table.feature[pair], steering[pair], features.dtype.type(0)
                for c in range(channels):
                    weighted = weights[edge, p, c] * grad[t, i, c]
                    by_features[f, j, c] += factor * weighted
                    by_steering += weighted * features[f, j, c]
                for c in range(channels):
                    by_weights[edge, p, c] += grad[t, i, c] * (factor * features[f, j, c])
                for term in range(table.first_term[pair], table.first_term[pair + 1]):
                    by_harmonics[edge, table.harmonic[term]] += (
                        table.coefficient[term] * by_steering
                    )
