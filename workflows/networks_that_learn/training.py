"""Train a small recurrent network in NumPy, keep numbered checkpoints, and replay any of them.

A network of N logistic units: two show a sequence, the others are hidden. Shown units are held at
the data at each step, hidden ones carry what the sequence does not show; all weights are learned by
backpropagation through time, with the mask of those that are there.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

SHOWN = 2  # Units that the sequence is shown to
SEQUENCE = ((0, 0), (1, 0), (0, 0), (1, 1), (0, 1), (0, 1))  # Not told from one step alone
CHECKPOINTS = (0, 1, 3, 10, 30, 100, 300, 1000)  # Epochs that are kept


@dataclass(frozen=True)
class Config:
    """All that decides a training."""

    units: int
    sparsity: float  # Share of the weights that are not there
    feed_forward: bool = False  # Whether connections only lead to later units
    seed: int = 0
    recordings: int = 24
    steps: int = 25  # Of a recording
    noise: float = 0.02  # Probability that a shown value is wrong
    rate: float = 0.05
    epochs: int = CHECKPOINTS[-1]

    @property
    def name(self) -> str:
        """Name of the folder of its checkpoints."""
        wiring = "feed-forward" if self.feed_forward else f"sparsity-{round(100 * self.sparsity)}"
        return f"units-{self.units}_{wiring}"


def recordings(config: Config) -> np.ndarray:
    """Return ``(recording, time, shown unit)`` 0 or 1: the sequence from random places, noisy."""
    rng = np.random.default_rng([config.seed, 0])
    first = rng.integers(0, len(SEQUENCE), config.recordings)
    at = (first[:, None] + np.arange(config.steps)) % len(SEQUENCE)
    shown = np.array(SEQUENCE)[at]
    return np.asarray(shown ^ (rng.random(shown.shape) < config.noise), np.float64)


def mask(config: Config) -> np.ndarray:
    """Return ``(N, N)`` which weights [from, to] are there: as many as asked for, at random."""
    n = config.units
    if config.feed_forward:
        return np.triu(np.ones((n, n), bool), 1)
    rng = np.random.default_rng([config.seed, 1])
    kept = np.zeros(n * n, bool)
    kept[rng.permutation(n * n)[: round((1 - config.sparsity) * n * n)]] = True
    return kept.reshape(n, n)


def logistic(fields: np.ndarray) -> np.ndarray:
    """Return 1 / (1 + exp(-field))."""
    return 1 / (1 + np.exp(-fields))


def gradient(
    weights: np.ndarray, bias: np.ndarray, data: np.ndarray
) -> tuple[float, np.ndarray, np.ndarray]:
    """Return the loss (nats per shown value) and its gradients by backpropagation through time."""
    count, steps, _ = data.shape
    n, total = len(weights), count * (steps - 1) * SHOWN
    states, values = np.zeros((steps, count, n)), np.zeros((steps, count, n))
    values[0, :, SHOWN:] = 0.5
    for t in range(steps):
        states[t] = values[t]
        states[t, :, :SHOWN] = data[:, t]  # held at the data
        if t + 1 < steps:
            values[t + 1] = logistic(states[t] @ weights + bias)
    loss, to_weights, to_bias = 0.0, np.zeros_like(weights), np.zeros_like(bias)
    back = np.zeros((count, n))  # of the loss by the units' values
    for t in range(steps - 1, 0, -1):
        shown, wanted = values[t, :, :SHOWN], data[:, t]
        odds = np.where(wanted == 1, shown, 1 - shown)
        loss -= float(np.log(odds).sum()) / total
        fields = back * values[t] * (1 - values[t])
        fields[:, :SHOWN] = (shown - wanted) / total
        to_weights += states[t - 1].T @ fields
        to_bias += fields.sum(axis=0)
        back = fields @ weights.T
        back[:, :SHOWN] = 0.0  # held values do not depend on weights
    return loss, to_weights, to_bias


def train(config: Config) -> Iterator[tuple[int, float, np.ndarray, np.ndarray]]:
    """Yield epoch, loss, weights and bias, from before the first epoch on (Adam)."""
    rng = np.random.default_rng([config.seed, 2])
    there, data = mask(config), recordings(config)
    weights = rng.normal(0, 1.0, (config.units, config.units)) * there
    bias = np.zeros(config.units)
    first = [np.zeros_like(weights), np.zeros_like(bias)]
    second = [np.zeros_like(weights), np.zeros_like(bias)]
    for epoch in range(config.epochs + 1):
        loss, *slopes = gradient(weights, bias, data)
        yield epoch, loss, weights.copy(), bias.copy()
        slopes[0] = slopes[0] * there
        for k, (values, slope) in enumerate(zip((weights, bias), slopes, strict=True)):
            first[k] = 0.9 * first[k] + 0.1 * slope
            second[k] = 0.999 * second[k] + 0.001 * slope**2
            mean = first[k] / (1 - 0.9 ** (epoch + 1))
            spread = second[k] / (1 - 0.999 ** (epoch + 1))
            values -= config.rate * mean / (np.sqrt(spread) + 1e-8)


def data_hash(config: Config) -> str:
    """Return the SHA-256 of the recordings a network learns from."""
    return hashlib.sha256(recordings(config).astype("<f8").tobytes()).hexdigest()


def keep(config: Config, folder: Path) -> Path:
    """Train, and write configuration, log and checkpoints into a folder of their own."""
    own = folder / config.name
    (own / "checkpoints").mkdir(parents=True, exist_ok=True)
    about = {**asdict(config), "data_sha256": data_hash(config)}
    (own / "config.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    with (own / "log.csv").open("w", encoding="utf-8", newline="") as file:
        log = csv.writer(file, lineterminator="\n")
        log.writerow(["epoch", "loss_nats"])
        for epoch, loss, weights, bias in train(config):
            log.writerow([epoch, repr(loss)])
            if epoch in CHECKPOINTS:
                path = own / "checkpoints" / f"epoch-{epoch:05d}.npz"
                np.savez(path, weights=weights, bias=bias)
    return own


def replay(own: Path, epoch: int) -> tuple[np.ndarray, np.ndarray]:
    """Train again as far as a checkpoint; return its weights and bias, which must be the same."""
    about = json.loads((own / "config.json").read_text(encoding="utf-8"))
    told = about.pop("data_sha256")
    config = Config(**about)
    if data_hash(config) != told:
        raise ValueError(f"{own}: expected data with SHA-256 {told}, got {data_hash(config)}")
    weights, bias = next((w, b) for number, _, w, b in train(config) if number == epoch)
    kept = np.load(own / "checkpoints" / f"epoch-{epoch:05d}.npz")
    if (weights != kept["weights"]).any() or (bias != kept["bias"]).any():
        raise ValueError(f"{own}: epoch {epoch}: expected the weights of the checkpoint")
    return weights, bias
