"""Kernels of IIT 3.0: bipartitions, concepts and distances between constellations."""
