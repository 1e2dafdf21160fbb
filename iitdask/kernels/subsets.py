"""Subsets as bitmasks, states of subsets as integers, and orders among subsets.

A subset A of n units is a bitmask; a state of A is a little-endian mixed-radix number over the
units of A in ascending order. ``offsets[A] + a`` is the *code* of (A, a): the states of one
subset lie side by side, subsets follow each other in the order of their masks. There are prod_i
(k_i + 1) codes, 3**n with binary units. Kernels that walk codes never look at a digit.
"""

import numpy as np

from iitdask.kernels.jit import inner, jitable, kernel, leaf


@jitable
def popcount(x):
    """Count the units of a mask."""
    c = 0
    while x:
        x &= x - 1
        c += 1
    return c


@leaf
def deposit_bits(x, mask):
    """Put the lowest bits of x at the units of a mask: the x-th of its subsets."""
    out = 0
    while mask:
        low = mask & -mask
        if x & 1:
            out |= low
        x >>= 1
        mask ^= low
    return out


@kernel
def popcounts(n):
    """Count the units of every mask of n units; (2**n,) int64."""
    out = np.zeros(1 << n, np.int64)
    for x in range(1, 1 << n):
        out[x] = out[x >> 1] + (x & 1)
    return out


@kernel
def segment_offsets(levels):
    """Find where the states of each subset begin, mathematics.md 19; (2**n + 1,) int64.

    ``offsets[A + 1] - offsets[A]`` is the number of states of A.
    """
    n = levels.shape[0]
    sizes = np.ones(1 << n, np.int64)
    for j in range(n):
        for a in range(1 << j):
            sizes[a | (1 << j)] = sizes[a] * levels[j]
    offsets = np.zeros((1 << n) + 1, np.int64)
    for a in range(1 << n):
        offsets[a + 1] = offsets[a] + sizes[a]
    return offsets


@kernel
def value_offsets(levels):
    """Find the column where each unit's values begin; (n + 1,) int64."""
    n = levels.shape[0]
    out = np.zeros(n + 1, np.int64)
    for i in range(n):
        out[i + 1] = out[i] + levels[i]
    return out


@kernel
def state_codes(offsets, state, n):
    """Find the code of every subset in one state, mathematics.md, Eq. (0.1); (2**n,) int64."""
    out = np.zeros(1 << n, np.int64)
    for j in range(n):
        for a in range(1 << j):
            # unit j is the highest of a | 1 << j, so its weight is the number of states of a
            out[a | (1 << j)] = out[a] + state[j] * (offsets[a + 1] - offsets[a])
    for a in range(1 << n):
        out[a] += offsets[a]
    return out


PHI_ZERO_BITS = 1e-13  # A phi up to this is zero (mathematics.md 0)
STATE_TIE_RELATIVE = 1e-12  # relative difference of states that tie (mathematics.md 4)
STATE_TIE_BITS = 1e-15  # absolute part of it: the rounding of information near zero


@leaf
def reversed_bits(x, width):
    """Mirror the lowest ``width`` bits."""
    out = 0
    for b in range(width):
        out |= (x >> b & 1) << (width - 1 - b)
    return out


@leaf
def phi_tolerance(phi):
    """Return the difference, bits, up to which two phi tie, mathematics.md, Eq. (0.2)."""
    return 1e-12 * (max(1.0, phi))


@leaf
def write_units(mask, out):
    """Write the units of a mask in ascending order; returns how many."""
    count = 0
    i = 0
    # without a branch on the bit, that a processor would guess wrong half the time
    while mask >> i:
        out[count] = i
        count += mask >> i & 1
        i += 1
    return count


@leaf
def is_admissible(origin, target, children):
    """Whether all of origin feed target, all of target are fed, and all hang together.

    mathematics.md 6.3: no zero row or column, and connected when both sides have several units.
    """
    reached = 0
    i = 0
    while origin >> i:
        if origin >> i & 1:
            if children[i] & target == 0:
                return False
            reached |= children[i] & target
        i += 1
    if reached != target:
        return False
    if origin & (origin - 1) == 0 or target & (target - 1) == 0:
        return True
    low = origin & -origin
    i = 0
    while low >> i != 1:
        i += 1
    seen, hit = low, children[i] & target
    while True:
        grown = hit
        i = 0
        while origin >> i:
            if origin >> i & 1 and not seen >> i & 1 and children[i] & hit:
                seen |= 1 << i
                grown |= children[i] & target
            i += 1
        if grown == hit:
            return seen == origin and hit == target
        hit = grown


@leaf
def is_purview(mechanism, purview, children, forward):
    """Tell whether a purview is admissible for a mechanism, mathematics.md 6.3."""
    if forward:
        return is_admissible(mechanism, purview, children)
    return is_admissible(purview, mechanism, children)


@kernel
def is_strongly_connected(connectivity):
    """Tell whether every unit reaches every other, mathematics.md 8.1; edges [from, to]."""
    n = connectivity.shape[0]
    for is_forward in (True, False):
        seen = np.zeros(n, np.bool_)
        seen[0], n_seen, is_grown = True, 1, True
        while is_grown:
            is_grown = False
            for i in range(n):
                for j in range(n):
                    edge = connectivity[i, j] if is_forward else connectivity[j, i]
                    if edge and seen[i] and not seen[j]:
                        seen[j], is_grown = True, True
                        n_seen += 1
        if n_seen < n:
            return False
    return True


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


@inner
def hash_insert(table, value, hashed):
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
def hash_set_order(mechanism, purviews, children, forward):
    """List the admissible purviews of a mechanism in the order a hash set yields them; int64.

    purviews : all masks in order of insertion, see ``nonempty_masks_by_size``. mathematics.md 15.2.
    """
    table = np.empty(8, np.int64)
    table[:] = -1
    fill = 0
    for k in range(purviews.shape[0]):
        purview = purviews[k]
        if not is_purview(mechanism, purview, children, forward):
            continue
        hash_insert(table, purview, tuple_hash(purview))
        fill += 1
        if 5 * fill >= 3 * (table.shape[0] - 1):
            wanted = 2 * fill if fill > 50000 else 4 * fill
            size = 8
            while size <= wanted:
                size *= 2
            old = table
            table = np.empty(size, np.int64)
            table[:] = -1
            for j in range(old.shape[0]):
                if old[j] >= 0:
                    hash_insert(table, old[j], tuple_hash(old[j]))
    out, count = np.empty(fill, np.int64), 0
    for j in range(table.shape[0]):
        if table[j] >= 0:
            out[count] = table[j]
            count += 1
    return out


def masks_by_size(n: int) -> np.ndarray:
    """List all masks of n units by size, then lexicographically; (2**n,) int64."""
    masks = np.arange(1 << n, dtype=np.int64)
    sizes = np.bitwise_count(masks.astype(np.uint64)).astype(np.int64)
    mirrored = np.zeros_like(masks)
    for i in range(n):
        mirrored |= (masks >> i & 1) << (n - 1 - i)
    return masks[np.lexsort((-mirrored, sizes))]


def nonempty_masks_by_size(n: int) -> np.ndarray:
    """List all masks but the empty one, as ``masks_by_size``; (2**n - 1,) int64."""
    return masks_by_size(n)[1:]
