"""The picture of a substrate: a circle for every unit, an arrow for every edge, names as text."""

import xml.etree.ElementTree as ET

import numpy as np
import pytest

import iitdask as iit
from iitdask.model.connection_drawing import ConnectionDrawing

NAMESPACE = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize("n", [1, 2, 5, 20])
def test_picture__has_every_unit_and_edge(n):
    edges = np.random.default_rng(n).random((n, n)) < 0.5
    drawing = ConnectionDrawing([f"U{k}" for k in range(n)], edges)
    root = ET.fromstring(drawing.svg)
    assert len(root.findall(f"{NAMESPACE}circle")) == n
    assert [each.text for each in root.findall(f"{NAMESPACE}text")] == list(drawing.labels)
    heads = [each for each in root.findall(f"{NAMESPACE}path") if each.get("d").endswith("Z")]
    assert len(heads) == edges.sum()
    left, top, width, height = map(float, root.get("viewBox").split())
    for each in root.findall(f"{NAMESPACE}circle"):
        assert left < float(each.get("cx")) < left + width
        assert top < float(each.get("cy")) < top + height


def test_arrows__lead_from_one_unit_to_the_other():
    edges = np.zeros((2, 2), bool)
    edges[0, 1] = True
    root = ET.fromstring(ConnectionDrawing("AB", edges).svg)
    line, head = root.findall(f"{NAMESPACE}path")
    assert float(line.get("d").split()[2]) < 0 < float(head.get("d").split()[2])  # A is at the top


def test_substrate__shows_its_picture_and_escapes_names():
    pair = iit.Substrate.from_units(
        [
            {"label": "<b>", "gate": "COPY", "inputs": ["B"]},
            {"label": "B", "gate": "COPY", "inputs": ["<b>"]},
        ]
    )
    html = pair._repr_html_()
    assert "<svg" in html
    assert "2 units, 2 connections" in html
    assert ">&lt;b&gt;</text>" in html
