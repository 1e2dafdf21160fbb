"""Kernels of actual causation: probabilities of occurrences, partitions of pairs."""
