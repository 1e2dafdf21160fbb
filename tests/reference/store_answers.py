"""Write what the IIT 3.0 oracle says about 20 random systems of four units (a few minutes).

python -m tests.reference.store_answers
"""

from __future__ import annotations

import json
from pathlib import Path

from tests.reference.concepts import analyse
from tests.reference.random_systems import drawn

PATH = Path(__file__).parents[1] / "golden" / "iit3_oracle_n4.json"
SYSTEMS = 20


def plain(found):
    """An answer of the oracle as JSON keeps it."""
    sides = ("cause", "effect")
    return {
        "phi": found["phi"],
        "tied_cuts": sorted(sorted(map(list, pairs)) for pairs in found["tied_cuts"]),
        "conceptual_information": found["conceptual_information"],
        "concepts": [
            {
                "mechanism": list(mechanism),
                "phi": one[0],
                **{
                    side: {
                        "phi": end.phi,
                        "purview": list(end.purview),
                        "ties": sorted(map(list, end.ties)),
                        "repertoire": end.repertoire.ravel(order="F").tolist(),
                        "partitioned": end.partitioned.ravel(order="F").tolist(),
                    }
                    for side, end in zip(sides, one[1:], strict=True)
                },
            }
            for mechanism, one in sorted(found["concepts"].items())
        ],
    }


def answer(number, units, rule=None):
    """Ask the oracle about one random system."""
    case, background = drawn(number, units)
    return plain(analyse(*case.given(), background=background, rule=rule))


if __name__ == "__main__":
    PATH.write_text(json.dumps([answer(number, 4) for number in range(SYSTEMS)]) + "\n")
