"""Profiles for property tests: the same examples every time, on every machine.

HYPOTHESIS_PROFILE=thorough draws six times as many, see `tests.strategies.examples`.
"""

from hypothesis import HealthCheck, settings

from tests.strategies import PROFILE
from tests.view.browser import KEPT

COMMON = {
    "derandomize": True,
    "deadline": None,
    "database": None,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
}

settings.register_profile("quick", max_examples=100, **COMMON)
settings.register_profile("thorough", max_examples=100, print_blob=True, **COMMON)
settings.load_profile(PROFILE)


def pytest_report_header():
    return f"pictures of the pages that are tested: {KEPT}"
