"""Attacks: malformed input, damaged stores and killed runs, each seeded and repeatable.

Every module is a command: ``python -m tests.attack.NAME --seed S --count N`` counts what came of
its trials, names the first failures of each kind with the number of their trial, and leaves with 1
if there is any. `test_attacks.py` holds bounded versions.
"""
