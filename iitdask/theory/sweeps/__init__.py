"""Sweeps: many systems as one recipe."""
