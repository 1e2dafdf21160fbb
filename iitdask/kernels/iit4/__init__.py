"""Kernels of IIT 4.0: partitions of systems and mechanisms, causes and effects."""
