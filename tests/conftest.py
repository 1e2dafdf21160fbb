"""Profiles for property tests: the same examples every time, on every machine."""

import os

from hypothesis import HealthCheck, settings

from tests.view.browser import KEPT

COMMON = {
    "derandomize": True,
    "deadline": None,
    "database": None,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
}

settings.register_profile("dev", max_examples=100, **COMMON)
settings.register_profile("ci", max_examples=100, print_blob=True, **COMMON)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if "CI" in os.environ else "dev"))


def pytest_report_header():
    return f"pictures of the pages that are tested: {KEPT}"
