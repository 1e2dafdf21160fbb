"""Networks that learn: ``python -m workflows.networks_that_learn.analyse FOLDER [PAGE.html]``."""

from __future__ import annotations

import argparse
import csv
import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

import iitdask as iit
from workflows.networks_that_learn import page
from workflows.networks_that_learn.training import Config, keep, replay

SIZES = (4, 5, 6)
SPARSITIES = (0.0, 0.5, 0.75)
TIMED_SIZES = (4, 5, 6, 7, 8, 9, 10)  # The cost law is fitted to all but the last
REPEATS = 5  # Timings of one size, of which the least counts: other work only adds to it


@dataclass(frozen=True)
class Trained:
    """One training, and what was found of its checkpoints."""

    config: Config
    losses: dict[int, float]  # By epoch
    cube: xr.Dataset  # phi_s and Phi over epoch and state
    sizes: list[
        int
    ]  # Units of the complex with the largest phi_s, by epoch, in the likeliest state
    phis: list[float]  # Its phi_s
    reasons: set[str]  # Why phi_s is 0

    @property
    def epochs(self) -> list[int]:
        """Epochs of the checkpoints."""
        return [int(epoch) for epoch in self.cube["epoch"].values]

    def over_states(self, name: str) -> np.ndarray:
        """Mean over all states of phi or big_phi, by epoch; states without a past count 0."""
        values = self.cube[name].transpose("epoch", "state").fillna(0)
        return np.asarray(values.mean("state"))


@dataclass(frozen=True)
class CostLaw:
    """Core-seconds of a cause-effect structure by size: measured, fitted, forecast."""

    sizes: tuple[int, ...]
    seconds: list[float]  # Least of some timings
    fixed: float  # Seconds that any size takes
    base: float  # Seconds more, of no units
    growth: float  # Factor of one unit more
    estimate: tuple[float, float]  # Interval that iit.estimate gives for the last size

    def fitted(self, n: int) -> float:
        """Seconds of a size; the law is fitted to all measured sizes but the last."""
        return self.fixed + self.base * self.growth**n


def study(own: Path) -> Trained:
    """Sweep the checkpoints of a training over all states, and search their complexes."""
    config = Config(**_config_fields(own))
    axis = {"weights": own / "checkpoints", "array": "weights", "bias": "bias"}
    cube = iit.sweep({"epoch": axis, "state": "all"}, compute="ces").load()
    sizes, phis = [], []
    for epoch in cube["epoch"].values:
        substrate = network(own, int(epoch))
        found = iit.complexes(substrate, likeliest_state(substrate))
        phi = found["phi"].values
        sizes.append(int(found["units"].values[phi.argmax()].sum()) if len(phi) else 0)
        phis.append(float(phi.max()) if len(phi) else 0.0)
    zero = cube["reason"].values[cube["phi"].fillna(0).values == 0]
    with (own / "log.csv").open(encoding="utf-8", newline="") as file:
        losses = {int(row["epoch"]): float(row["loss_nats"]) for row in csv.DictReader(file)}
    return Trained(config, losses, cube, sizes, phis, {str(reason) for reason in zero.ravel()})


def _config_fields(own: Path) -> dict[str, object]:
    fields: dict[str, object] = json.loads((own / "config.json").read_text(encoding="utf-8"))
    fields.pop("data_sha256")
    return fields


def network(own: Path, epoch: int) -> iit.Substrate:
    """Return the substrate of a checkpoint."""
    kept = np.load(own / "checkpoints" / f"epoch-{epoch:05d}.npz")
    return iit.Substrate.from_weights(kept["weights"], bias=kept["bias"])


def likeliest_state(substrate: iit.Substrate) -> str:
    """Return the state in which the network is most of the time."""
    long_run = iit.dynamics(substrate)["long_run"]["long_run_probability"]
    return str(long_run["state"].values[int(long_run.values.argmax())])


def cost_law(sizes: tuple[int, ...] = TIMED_SIZES) -> CostLaw:
    """Time a structure of untrained networks of each size, fit all but the last, forecast that."""
    seconds = []
    for n in sizes:
        rng = np.random.default_rng(n)
        substrate = iit.Substrate.from_weights(rng.normal(0, 1, (n, n)))
        iit.ces(substrate, (1,) + (0,) * (n - 1))  # compiled, loaded
        taken = []
        for _ in range(REPEATS):
            begin = time.process_time()
            iit.ces(substrate, (1,) + (0,) * (n - 1))
            taken.append(time.process_time() - begin)
        seconds.append(min(taken))
    law = fit(sizes[:-1], seconds[:-1])
    weights = np.random.default_rng(sizes[-1]).normal(0, 1, (sizes[-1], sizes[-1]))
    study_of_last = {
        "substrate": {"weights": weights.tolist()},
        "state": [1] + [0] * (sizes[-1] - 1),
        "compute": "ces",
    }
    expected = iit.estimate(study_of_last)
    interval = expected.low, expected.high
    return CostLaw(sizes, seconds, *law, interval)


def fit(sizes: tuple[int, ...], seconds: list[float]) -> tuple[float, float, float]:
    """Return a, b and g of a + b g^n with the least squares of relative errors, a and b not < 0."""
    taken, best = np.array(seconds), (np.inf, 0.0, 0.0, 1.0)
    for growth in np.arange(1.5, 6.5, 0.01):
        powers = growth ** np.array(sizes, float)
        columns = np.stack([np.ones(len(taken)), powers], axis=1) / taken[:, None]
        (fixed, base), *_ = np.linalg.lstsq(columns, np.ones(len(taken)), rcond=None)
        if fixed < 0:
            fixed, base = 0.0, float(columns[:, 1].sum() / (columns[:, 1] ** 2).sum())
        error = float(((columns @ [fixed, base] - 1) ** 2).sum())
        if error < best[0] and base > 0:
            best = error, float(fixed), float(base), float(growth)
    return best[1:]


def run(
    folder: Path,
    sizes: tuple[int, ...] = SIZES,
    timed: tuple[int, ...] = TIMED_SIZES,
    epochs: int = Config.epochs,
) -> tuple[list[Trained], CostLaw]:
    """Train and study every network: sizes, sparsities, and feed-forward ones of each size."""
    configs = [Config(n, sparsity, epochs=epochs) for n in sizes for sparsity in SPARSITIES] + [
        Config(n, 0.0, feed_forward=True, epochs=epochs) for n in sizes
    ]
    found = []
    for config in configs:
        own = keep(config, folder)
        found.append(study(own))
        replay(own, found[-1].epochs[len(found[-1].epochs) // 2])
    return found, cost_law(timed)


def main(words: list[str] | None = None) -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where trainings are kept")
    parser.add_argument("page", type=Path, nargs="?", default=Path("networks_that_learn.html"))
    given = parser.parse_args(words)
    begin = time.process_time()
    found, law = run(given.folder)
    given.page.write_text(page.written(found, law), encoding="utf-8")
    for line in page.summary(found, law):
        print(line)
    print(f"{time.process_time() - begin:.0f} core-seconds; {given.page}")


if __name__ == "__main__":
    main()
