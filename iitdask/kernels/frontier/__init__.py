"""Kernels of phi_s for sparse systems: programmes over the frontier of a linear order of units."""
