"""Datasets as Bokeh figures."""
