"""IIT 3.0: concepts, unidirectional cuts and the distance between constellations."""
