"""Complexes: irreducible candidate systems of a substrate after exclusion."""
