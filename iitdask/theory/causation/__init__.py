"""Actual causation: what caused what in a transition."""
