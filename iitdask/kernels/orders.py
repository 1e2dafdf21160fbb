"""The order in which published values name one of several tied purviews.

The reference keeps purviews in a hash set of tuples and reports the first it
meets, so published representatives follow the set order of its interpreter.
spec.md 15.2 restates that order; it is emulated here so that values compare.
"""

from __future__ import annotations

import numpy as np

from iitdask.kernels.jit import kernel
from iitdask.kernels.purviews import is_purview

__all__ = ["set_order", "size_order", "tuple_hash"]


@kernel
def tuple_hash(mask):
    """Hash of the tuple of unit numbers in a mask (xxHash-based, 64 bits)."""
    p1 = np.uint64(11400714785074694791)
    p2 = np.uint64(14029467366897019727)
    p5 = np.uint64(2870177450012600261)
    acc = p5
    count = np.uint64(0)
    i = 0
    while mask >> i:
        if mask >> i & 1:
            acc += np.uint64(i) * p2
            acc = (acc << np.uint64(31)) | (acc >> np.uint64(33))
            acc *= p1
            count += np.uint64(1)
        i += 1
    acc += count ^ (p5 ^ np.uint64(3527539))
    if acc == np.uint64(18446744073709551615):
        return np.uint64(1546275796)
    return acc


@kernel
def insert(table, value, hashed):
    """Put a value into an open-addressing table of a power-of-two size."""
    mask = np.uint64(table.shape[0] - 1)
    perturb = hashed
    i = hashed & mask
    while True:
        last = i + np.uint64(9) if i + np.uint64(9) <= mask else i
        for k in range(int(i), int(last) + 1):
            if table[k] < 0:
                table[k] = value
                return
        perturb >>= np.uint64(5)
        i = (i * np.uint64(5) + np.uint64(1) + perturb) & mask


@kernel
def set_order(mechanism, purviews, children, forward):
    """Admissible purviews of a mechanism in the order a hash set yields them; int64 masks.

    purviews : all nonempty masks in insertion order, see ``size_order``
    """
    table = np.full(8, -1, np.int64)
    fill = 0
    for purview in purviews:
        if not is_purview(mechanism, purview, children, forward):
            continue
        insert(table, purview, tuple_hash(purview))
        fill += 1
        if 5 * fill >= 3 * (table.shape[0] - 1):
            wanted = 2 * fill if fill > 50000 else 4 * fill
            size = 8
            while size <= wanted:
                size *= 2
            old = table
            table = np.full(size, -1, np.int64)
            for value in old:
                if value >= 0:
                    insert(table, value, tuple_hash(value))
    return table[table >= 0]


def size_order(n: int) -> np.ndarray:
    """All nonempty masks of n units by size, then lexicographically; (2**n - 1,) int64."""
    masks = np.arange(1, 1 << n, dtype=np.int64)
    sizes = np.bitwise_count(masks.astype(np.uint64)).astype(np.int64)
    mirrored = np.zeros_like(masks)
    for i in range(n):
        mirrored |= (masks >> i & 1) << (n - 1 - i)
    return masks[np.lexsort((-mirrored, sizes))]
