"""Trainings learn, are replayed to the bit, and their checkpoints are analysed."""

import json

import numpy as np
import pytest

import iitdask as iit
from workflows.networks_that_learn import analyse, page
from workflows.networks_that_learn.training import (
    Config,
    gradient,
    keep,
    mask,
    recordings,
    replay,
    train,
)


@pytest.mark.parametrize("sparsity", [0.0, 0.5, 0.75])
def test_mask__leaves_out_as_many_as_asked_for(sparsity):
    config = Config(6, sparsity)
    assert mask(config).sum() == round(36 * (1 - sparsity))
    *_, (_, _, weights, _) = train(Config(6, sparsity, epochs=5))
    assert ((weights != 0) <= mask(config)).all()


def test_gradient__is_that_of_finite_differences():
    rng = np.random.default_rng(5)
    weights, bias, data = rng.normal(size=(4, 4)), rng.normal(size=4), recordings(Config(4, 0.0))
    _, to_weights, to_bias = gradient(weights, bias, data)

    def loss(change, target):
        moved = [weights + change if target == 0 else weights, bias + change if target else bias]
        return gradient(*moved, data)[0]

    for target, slopes in enumerate((to_weights, to_bias)):
        for place in np.ndindex(slopes.shape):
            step = np.zeros(slopes.shape)
            step[place] = 1e-5
            slope = (loss(step, target) - loss(-step, target)) / 2e-5
            assert slopes[place] == pytest.approx(slope, abs=1e-8)


def test_training__learns_what_one_step_does_not_tell():
    losses = [loss for _, loss, _, _ in train(Config(5, 0.0, epochs=150))]
    assert losses[-1] < 0.3 * losses[0]
    alone = [loss for _, loss, _, _ in train(Config(5, 0.0, feed_forward=True, epochs=150))]
    assert alone[-1] > 0.6


def test_replay__is_the_same_to_the_bit_and_refuses_other_data(tmp_path):
    own = keep(Config(4, 0.5, epochs=3), tmp_path)
    weights, bias = replay(own, 3)
    kept = np.load(own / "checkpoints" / "epoch-00003.npz")
    assert (weights == kept["weights"]).all()
    assert (bias == kept["bias"]).all()
    about = json.loads((own / "config.json").read_text(encoding="utf-8"))
    (own / "config.json").write_text(json.dumps({**about, "noise": 0.5}), encoding="utf-8")
    with pytest.raises(ValueError, match="expected data with SHA-256"):
        replay(own, 3)
    np.savez(own / "checkpoints" / "epoch-00003.npz", weights=kept["weights"] + 1, bias=bias)
    (own / "config.json").write_text(json.dumps(about), encoding="utf-8")
    with pytest.raises(ValueError, match="epoch 3: expected the weights of the checkpoint"):
        replay(own, 3)


def test_small_form__studies_checkpoints_and_certifies_the_control(tmp_path):
    found, law = analyse.run(tmp_path, sizes=(4,), timed=(3, 4, 5, 6), epochs=3)
    assert len(found) == 4
    one = found[0]
    assert one.epochs == [0, 1, 3]
    own = tmp_path / one.config.name
    direct = iit.ces(analyse.network(own, 3), "0110")
    point = one.cube.sel(epoch=3, state="0110")
    assert float(point["phi"]) == pytest.approx(float(direct["system"]["phi"]), abs=1e-12)
    assert float(point["big_phi"]) == pytest.approx(direct.attrs["big_phi"], rel=1e-9)
    control = found[-1]
    assert control.config.feed_forward
    assert control.reasons == {"NO_STRONG_CONNECTIVITY"}
    assert float(control.cube["phi"].max()) == 0
    text = page.written(found, law)
    assert "phi_s is at most 0 at all 48 points" in text
    assert text.count("<svg") == 4 + 2
    assert "Forecast for 6 units" in text


def test_fit__finds_the_law_it_is_given():
    sizes = (4, 5, 6, 7, 8)
    fixed, base, growth = analyse.fit(sizes, [0.01 + 1e-6 * 4**n for n in sizes])
    assert (fixed, base, growth) == (pytest.approx(0.01), pytest.approx(1e-6), pytest.approx(4))


@pytest.mark.parametrize(("base", "ratio"), [(0.0, ""), (0.5, " (0.50 times)")])
def test_cost_law__says_how_its_forecast_did_if_it_has_one(base, ratio):
    law = analyse.CostLaw((3, 4, 5), [1.0, 1.0, 2.0], 0.0, base, 1.5157165665103982, (1.0, 3.0))
    assert f"actual 2 s{ratio}; iit.estimate said 1 to 3 s." in page.law_text(law)
