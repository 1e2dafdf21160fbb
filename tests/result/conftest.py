import pytest
import xarray as xr

import iitdask as iit


@pytest.fixture(scope="session")
def structure():
    """The structure of the three gates of the 2014 example, in state 100."""
    return iit.ces(iit.examples.load("basic"), "100")


@pytest.fixture(scope="session")
def concepts():
    """The same of IIT 3.0."""
    return iit.ces(iit.examples.load("basic"), "100", theory="iit3")


@pytest.fixture(scope="session")
def complexes():
    found = iit.complexes(iit.examples.load("basic"), "100")
    return xr.DataTree.from_dict({"/complexes": found})


@pytest.fixture(scope="session")
def account():
    spec = iit.examples.spec("causation2019-fig6")
    about = [spec[key] for key in ("before", "after", "causes", "effects")]
    return iit.account(iit.examples.load("causation2019-fig6"), *about)


@pytest.fixture(scope="session")
def cube():
    """A sweep over states and noise in which some states are unreachable."""
    units = [{"gate": "AND", "inputs": ["A", "B"]}, {"gate": "AND", "inputs": ["A", "B"]}]
    return iit.sweep({"state": "all", "noise": [0.0, 0.1]}, {"units": units}, compute="ces")
