"""Objects and calls as people expect them: theories, workers, stores, warnings, messages."""

import itertools
import warnings

import numpy as np
import pytest
import xarray as xr
from distributed import Client, LocalCluster

import iitdask as iit
from iitdask.errors import InputError, LargeRunWarning, PartialResultWarning, StoreError
from iitdask.run.checksum import package_version
from iitdask.run.events import BlocksFilled, StageOpened
from iitdask.study.run import run_job
from iitdask.study.sweep import build_sweep
from iitdask.study.sweep_axes import read_axes
from iitdask.view.progress import LargeRunObserver

FIG6 = "causation2019-fig6"


@pytest.fixture(scope="module")
def basic():
    return iit.examples.load("basic")


@pytest.fixture(scope="module")
def fig6():
    return iit.examples.load(FIG6)


def test_version__is_that_of_results(basic):
    assert iit.__version__ == package_version()
    assert iit.sia(basic, "100").attrs["iitdask_version"] == iit.__version__


@pytest.mark.parametrize(
    ("theory", "name"),
    [
        ("IIT4", "iit4"),
        ("Iit4", "iit4"),
        (iit.IIT4, "iit4"),
        (iit.IIT4(ties="canonical"), "iit4"),
        ({"name": "IIT4"}, "iit4"),
        ("IIT3", "iit3"),
        (iit.IIT3, "iit3"),
        ("IIT4-2026", "iit4-2026"),
        ("IIT42026", "iit4-2026"),
        (iit.IIT42026, "iit4-2026"),
    ],
    ids=str,
)
def test_theories__are_known_by_name_and_class(basic, theory, name):
    expected = iit.sia(basic, "100", theory=name)
    found = iit.sia(basic, "100", theory=theory)
    assert found.attrs["theory"] == name
    assert float(found["phi"]) == float(expected["phi"])


def test_theories__that_are_unknown_are_told_those_of_the_computation(basic):
    for call in (iit.sia, iit.ces, iit.complexes):
        with pytest.raises(InputError, match=r"expected one of iit4, iit4-2026, iit3, got 'iit5'$"):
            call(basic, "100", theory="iit5")


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ("basic", r"got 'basic'; examples\.load\('basic'\) makes one"),
        ("net.yaml", r"got 'net\.yaml'; load\('net\.yaml'\) makes one"),
        (np.zeros((8, 3)), r"got array.*; Substrate\.from_tpm makes one of a table"),
        ([[1.0]], r"; Substrate\.from_tpm makes one of a table"),
        ({"tpm": [[1.0]]}, r"; Substrate\.from_tpm makes one of a table"),
        (None, "got None"),
    ],
    ids=["name", "file", "array", "list", "mapping", "none"],
)
def test_other_things__are_no_substrates(given, hint):
    calls = [lambda call=call: call(given, "100") for call in (iit.sia, iit.ces, iit.complexes)]
    calls += [lambda call=call: call(given, "1", "1") for call in (iit.account, iit.causal_nexus)]
    calls.append(lambda: iit.true_events(given, "1", "1", "1"))
    for call in calls:
        with pytest.raises(InputError, match=f"substrate: expected a Substrate, .*{hint}"):
            call()


@pytest.mark.parametrize("given", ["tcp://127.0.0.1:9", 3, object()])
def test_other_things__are_no_clients(basic, given):
    calls = [lambda call=call: call(basic, "100", client=given) for call in (iit.sia, iit.ces)]
    calls.append(lambda: iit.sweep({"state": "all"}, basic, client=given))
    calls.append(lambda: iit.account(basic, "110", "100", client=given))
    for call in calls:
        with pytest.raises(InputError, match=r"client: expected a distributed\.Client, got"):
            call()


def test_clusters__are_told_how_to_make_a_client(basic):
    local = {"n_workers": 1, "threads_per_worker": 1, "processes": False}
    with LocalCluster(**local, dashboard_address=None) as cluster:
        with pytest.raises(InputError, match=r"client: .*its get_client\(\) makes one"):
            iit.sia(basic, "100", client=cluster)
        with Client(cluster) as client, pytest.raises(InputError, match="either workers or a cli"):
            iit.sia(basic, "100", client=client, workers=2)


@pytest.mark.parametrize("given", [3, 1.5, True, ["a", "b"], b"a", object(), np.zeros(2)])
def test_other_things__are_no_paths(basic, given):
    expected = "expected (a path|a file|the path of a file)"
    calls = [lambda call=call: call(basic, "100", store=given) for call in (iit.sia, iit.complexes)]
    calls.append(lambda: iit.sweep({"state": "all"}, basic, store=given))
    calls += [lambda call=call: call(given) for call in (iit.open, iit.load, iit.estimate)]
    for call in calls:
        with pytest.raises(InputError, match=expected):
            call()


def test_caches__are_directories(basic, tmp_path):
    for given in (3, ["a"], b"a"):
        with pytest.raises(InputError, match=r"^cache .*: expected a directory, got"):
            iit.sia(basic, "100", store=tmp_path / "a.zarr", cache=given)


@pytest.mark.parametrize("given", ["yes", 1.5, np.zeros(2), [1]])
def test_progress__is_a_flag(basic, given):
    with pytest.raises(InputError, match="progress: expected True or False, got"):
        iit.sia(basic, "100", progress=given)


@pytest.mark.parametrize("given", [np.nan, -1, np.inf, True, np.ma.masked, "3", None, [1]])
def test_estimate__takes_a_time(given):
    with pytest.raises(InputError, match="seconds: expected a time, 0 or more, got"):
        iit.estimate("basic", seconds=given)


def test_numbers__may_be_of_numpy(basic):
    two = np.int64(2)
    assert iit.complexes(basic, "100", max_size=two).identical(
        iit.complexes(basic, "100", max_size=2)
    )
    assert iit.account(basic, "110", "100", max_order=two).attrs["max_order"] == 2
    assert float(iit.sia(basic, "100", workers=two)["phi"]) > 0


def test_masks__are_no_edges_and_no_parameters():
    hidden = np.ma.array([[True]], mask=[[True]])
    with pytest.raises(InputError, match="connectivity 'A' -> 'A': expected 0 or 1, got nan"):
        iit.Substrate.from_tpm([[0.1], [0.9]], hidden)
    copy = {"label": "A", "gate": "COPY", "inputs": ["A"], "noise": np.ma.masked}
    with pytest.raises(InputError, match="noise to be a probability"):
        iit.Substrate.from_units([copy])
    weights = np.ma.array([1.0], mask=[True])
    with pytest.raises(InputError, match="weights to be a list of finite numbers"):
        iit.Substrate.from_units([{**copy, "gate": "SIGMOID", "noise": 0, "weights": weights}])


@pytest.mark.parametrize("workers", [0, -1, True, 1.5, "2", np.zeros(2), 10**20])
def test_workers__are_a_number(basic, workers):
    with pytest.raises(InputError, match="workers: expected a whole number from 1 to 10000, got"):
        iit.sia(basic, "100", workers=workers)


@pytest.mark.parametrize("workers", [1, 3])
def test_workers__give_the_same_bits(basic, fig6, workers, tmp_path):
    name = "iit4-2023-fig6d"
    large, state = iit.examples.load(name), iit.examples.state(name)
    calls = [
        lambda **more: iit.sia(large, state, **more),
        lambda **more: iit.ces(large, state, **more),
        lambda **more: iit.complexes(basic, "100", **more),
        lambda **more: iit.account(fig6, "10", "10", **more),
        lambda **more: iit.causal_nexus(fig6, "10", "10", **more),
        lambda **more: iit.true_events(fig6, "10", "10", "10", **more),
    ]
    for number, call in enumerate(calls):
        expected = call()
        xr.testing.assert_identical(call(workers=workers), expected)
        xr.testing.assert_identical(call(workers=workers, store=tmp_path / str(number)), expected)
    cube = iit.sweep({"state": "all", "units": "all"}, basic, workers=workers)
    xr.testing.assert_identical(
        cube.drop_vars("seconds"),
        iit.sweep({"state": "all", "units": "all"}, basic).drop_vars("seconds"),
    )


def test_threads__compute_every_block_and_pass_failures_on(basic):
    job = build_sweep(
        read_axes({"state": "all", "units": "all"}),
        {"compute": "ces", "substrate": basic, "theory": None},
        None,
        "sweep",
    )
    events = []
    run_job(job, workers=2, block_seconds=1e-9, observers=[events.append])
    opened = sum(event.blocks for event in events if isinstance(event, StageOpened))
    filled = sum(event.blocks for event in events if isinstance(event, BlocksFilled))
    assert opened == filled > 0


def stored(basic, fig6, folder):
    """Results of every computation, each beside its store."""
    calls = {
        "sia": lambda store: iit.sia(basic, "100", store=store),
        "ces": lambda store: iit.ces(basic, "100", store=store),
        "iit3": lambda store: iit.ces(basic, "100", theory="iit3", store=store),
        "complexes": lambda store: iit.complexes(basic, "100", store=store),
        "sweep": lambda store: iit.sweep({"state": "all"}, basic, store=store),
        "account": lambda store: iit.account(fig6, "10", "10", store=store),
        "nexus": lambda store: iit.causal_nexus(fig6, "10", "10", store=store),
        "events": lambda store: iit.true_events(fig6, "10", "10", "10", store=store),
    }
    return {name: (call(folder / name), folder / name) for name, call in calls.items()}


def test_open__gives_every_result_and_netcdf_holds_it(basic, fig6, tmp_path):
    nodes = {"sia": "system", "complexes": "complexes", "sweep": "/"}
    for name, (result, store) in stored(basic, fig6, tmp_path).items():
        opened = iit.open(store)
        same = opened[nodes[name]].to_dataset() if name in nodes else opened
        xr.testing.assert_identical(same, result)
        assert "partial" not in opened.attrs
        before = repr(result.attrs)
        for number, each in enumerate((result, opened)):
            path = tmp_path / f"{name}-{number}.nc"
            each.to_netcdf(path, engine="h5netcdf")
            with xr.open_datatree(path, engine="h5netcdf") as read:
                assert {node.path for node in read.subtree} >= {"/"}
                first = next(iter(each.data_vars), None)
                if first is not None:
                    np.testing.assert_array_equal(read[first].values, each[first].values)
        assert repr(result.attrs) == before


def test_netcdf__of_other_datasets_is_written_as_ever(tmp_path):
    data = xr.Dataset({"x": ("a", [1.0])}, attrs={"flag": {"a": 1}})
    with pytest.raises(TypeError, match="Invalid value for attr 'flag'"):
        data.to_netcdf(tmp_path / "x.nc", engine="h5netcdf")


def test_open__says_what_a_store_lacks(basic, tmp_path):
    with pytest.raises(StoreError, match=r"expected a store of iitdask, found none"):
        iit.open(tmp_path / "nothing")

    def stop(event):
        raise KeyboardInterrupt

    iit.sweep({"state": ["100"]}, basic, store=tmp_path / "s")
    axes = {"state": ["100", "000"]}
    job = build_sweep(
        read_axes(axes), {"compute": "sia", "substrate": basic, "theory": None}, None, "sweep"
    )
    with pytest.raises(KeyboardInterrupt):
        run_job(job, store=tmp_path / "s", observers=[stop])
    text = "the sweep is not finished; 1 of its cells are computed so far"
    with pytest.warns(PartialResultWarning, match=f"s: {text}"):
        opened = iit.open(tmp_path / "s")
    assert opened.attrs["partial"] == text


class Nodes:
    def nthreads(self):
        return {"a": 4, "b": 4}


@pytest.mark.parametrize(
    ("client", "workers", "cost", "nbytes", "text"),
    [
        (None, None, 601.0, 0, r"about 10 min on one thread; with store="),
        (None, 2, 6000.0, 0, r"about 50 min on 2 threads"),
        (Nodes(), None, 48000.0, 0, r"about 1\.67 h on 8 threads"),
        (None, None, 1.0, 2**60, r"predicted to take 1\.15e\+09 GB of .* memory"),
        (None, None, 7200.0, 2**60, r"about 2 h on one thread and 1\.15e\+09 GB of"),
    ],
)
def test_large_runs__are_announced_once(client, workers, cost, nbytes, text):
    observer = LargeRunObserver(client, workers, is_stored=False)
    with pytest.warns(LargeRunWarning, match=f"stage 'mice' is predicted to take .*{text}|{text}"):
        observer(StageOpened("mice", 9, 9, cost, nbytes))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        observer(StageOpened("later", 9, 9, cost, nbytes))


@pytest.mark.parametrize(
    ("client", "workers", "cost", "todo"),
    [
        (None, None, 599.0, 1),
        (None, 2, 1100.0, 1),
        (Nodes(), None, 4000.0, 1),
        (None, None, 1e9, 0),
    ],
)
def test_small_runs__are_not_announced(client, workers, cost, todo):
    observer = LargeRunObserver(client, workers, is_stored=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        observer(StageOpened("mice", 9, todo, cost, 2**20))


def test_large_calls__warn_where_they_are_made(basic, monkeypatch):
    monkeypatch.setattr("iitdask.view.progress.LONG_SECONDS", 0.0)
    with pytest.warns(LargeRunWarning, match="is predicted to take") as caught:
        iit.ces(basic, "100")
    assert [each.filename for each in caught] == [__file__]


def test_estimates__show_themselves():
    result = iit.estimate("basic", seconds=0.0)
    assert repr(result).startswith("Estimate(")
    assert "core-seconds" in repr(result)
    assert len(repr(result)) < 200
    assert result._repr_html_().count("<tr>") == 1 + len(result.stages)


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({"noise": [0.1]}, r"^sweep: noise: expected a substrate made of `units`.* got one with "),
        ({"niose": [0.1]}, r"^sweep: niose: no gate has this parameter; did you mean 'noise'"),
        ({"staet": ["100"]}, r"^sweep: staet: no gate has this parameter; did you mean 'state'"),
        ({"temperature": []}, r"^sweep: temperature: expected 1 to "),
    ],
)
def test_sweeps__of_an_object_explain_themselves(basic, axes, message):
    with pytest.raises(InputError, match=message):
        iit.sweep(axes, basic, state="100")


def test_sweeps__without_such_a_parameter_suggest_one():
    with pytest.raises(InputError, match=r"^sweep: threshold: no unit .*; did you mean 'threshold"):
        iit.sweep({"threshold": [1]}, "basic", state="100")


def test_states__of_each_form_give_one_result(basic):
    forms = [
        "100",
        "1,0,0",
        (1, 0, 0),
        np.array([1, 0, 0], bool),
        ["1", "0", "0"],
        {"A": 1, "B": 0, "C": 0},
    ]
    for one, other in itertools.pairwise(iit.sia(basic, form) for form in forms):
        xr.testing.assert_identical(one, other)
