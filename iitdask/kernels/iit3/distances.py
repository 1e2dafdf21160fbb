"""Distances between concepts, for the extended earth mover's distance (IIT 3.0).

Concepts are compared at all units: outside its purview a cause is uniform and an effect is
unconstrained (mathematics.md 12.2 and 25.1).
"""

from iitdask.kernels.iit3.bipartition import fill_part_states, marginal_distance, unit_distance
from iitdask.kernels.iit3.emd import earth_movers_distance, fill_neighbours
from iitdask.kernels.iit3.measures import is_tied, round_distance
from iitdask.kernels.jit import kernel, leaf

PROBABILITY_TOLERANCE = 1e-12  # Probabilities that differ by no more are the same


@leaf
def _same_repertoires(m, cause, effect, one, two):
    for c in range(one.offsets[cause], one.offsets[cause + 1]):
        if abs(one.cause[m, c] - two.cause[m, c]) > PROBABILITY_TOLERANCE:
            return False
    j = 0
    while effect >> j:
        if effect >> j & 1:
            for c in range(one.compared[j], one.compared[j + 1]):
                if abs(one.effect[m, c] - two.effect[m, c]) > PROBABILITY_TOLERANCE:
                    return False
        j += 1
    return True


@kernel
def mark_unchanged_concepts(phi, purview, phi_cut, purview_cut, intact, cut, same):
    """Mark, in ``same``, the mechanisms whose concept a cut leaves as it is, mathematics.md 12.2.

    phi, purview, phi_cut, purview_cut : of either system, see concepts.find_concepts
    """
    for m in range(phi.shape[0]):
        same[m] = (
            phi[m] > 0.0
            and phi_cut[m] > 0.0
            and is_tied(phi[m], phi_cut[m])
            and purview[0, m] == purview_cut[0, m]
            and purview[1, m] == purview_cut[1, m]
            and _same_repertoires(m, purview[0, m], purview[1, m], intact, cut)
        )


@kernel
def fill_concept_marginals(mechanisms, purview, reps, plain, out):
    """Fill the marginals of every unit in some concepts, mathematics.md 12.2 and 25.1.

    mechanisms : (c,) masks; 0 is the null concept; purview : (2, 2**n) cause and effect purviews
    plain : (2, w) float64, marginals outside the purviews: uniform, and unconstrained
    out : (c, 2, w) float64, filled
    """
    n = reps.levels.shape[0]
    for i in range(mechanisms.shape[0]):
        m = mechanisms[i]
        for side in range(2):
            z = purview[side, m] if m else 0
            for j in range(n):
                for c in range(reps.compared[j], reps.compared[j + 1]):
                    if z >> j & 1 == 0:
                        out[i, side, c] = plain[side, c]
                    elif side == 0:
                        out[i, side, c] = reps.cause_marginals[m, z, c]
                    else:
                        out[i, side, c] = reps.effect[m, c]


@kernel
def fill_distance_bounds(one, two, compared, weights, effect, bound):
    """Fill the distance of effects, and a bound on that of causes, of all pairs of concepts.

    Parameters
    ----------
    one, two : (a, 2, w), (b, 2, w) float64, see ``fill_concept_marginals``
    compared : (n + 1,) int64, where each unit's columns begin
    weights : (n,) float64, weight of each unit's columns
    effect, bound : (a, b) float64, distance of effects, lower bound of that of causes; filled

    References
    ----------
    mathematics.md 25.1, Eq. (25.1).
    """
    for i in range(one.shape[0]):
        for k in range(two.shape[0]):
            causes, effects = 0.0, 0.0
            for j in range(weights.shape[0]):
                causes += unit_distance(one[i, 0], two[k, 0], j, compared, weights)
                effects += unit_distance(one[i, 1], two[k, 1], j, compared, weights)
            effect[i, k] = round_distance(effects)
            bound[i, k] = round_distance(causes)


@kernel
def cause_distances(pairs, one, two, first, second, intact, cut, scratch, out):
    """Compute the earth mover's distance of the causes of chosen pairs of concepts, rounded.

    Parameters
    ----------
    pairs : (p, 2) int64, positions in the lists of mechanisms
    one, two : (a,), (b,) int64, mechanisms of the intact and the cut system; 0 is the null concept
    first, second : (2, 2**n) int64, their purviews
    intact, cut : Repertoires, of either system
    scratch : BipartitionScratch, working memory
    out : (p,) float64, filled

    References
    ----------
    mathematics.md 12.2, Eq. (12.3).
    """
    for k in range(pairs.shape[0]):
        m1, m2 = one[pairs[k, 0]], two[pairs[k, 1]]
        z1 = first[0, m1] if m1 else 0
        z2 = second[0, m2] if m2 else 0
        _fill_cause_excess(m1, z1, m2, z2, intact, cut, scratch)
        size, degree = fill_neighbours(z1 | z2, intact.levels, scratch.flow)
        cost = 0.0
        if size > 1:
            cost = earth_movers_distance(size, degree, 1e300, scratch.flow)
        out[k] = round_distance(cost)


@kernel
def null_effect_distance(m, z, reps, intact):
    """Compute the distance of an effect from the null concept, rounded, mathematics.md 12.2."""
    return round_distance(marginal_distance(reps.effect[m], intact.effect[0], z, reps))


@leaf
def _fill_cause_excess(m1, z1, m2, z2, one, two, scratch):
    """Write the difference of two causes, both expanded to the union of their purviews."""
    size, size1, size2 = fill_part_states(z1, z2, one.levels, scratch)
    p, q = one.cause[m1], two.cause[m2]
    c1, c2 = one.offsets[z1], one.offsets[z2]
    thin1, thin2 = size1 / size, size2 / size
    for x in range(size):
        scratch.flow.excess[x] = (
            p[c1 + scratch.first[x]] * thin1 - q[c2 + scratch.second[x]] * thin2
        )
