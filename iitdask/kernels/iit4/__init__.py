"""Kernels of IIT 4.0: partitions of systems and mechanisms, and the search for causes and effects."""
