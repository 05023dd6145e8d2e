"""Property tests: the same examples in every run, unless `make explore` asks for others.

A run that lets a change land has to be repeatable: what it tries depends on the test alone, not on chance, on time, on
earlier runs or on what else the process has imported. `make explore` takes the profile `explore`: thirty times as many
examples, and other ones each time.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis.internal.conjecture import providers
from hypothesis.internal.constants_ast import Constants

LANDING, EXPLORE = "landing", "explore"

settings.register_profile(
    LANDING,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    print_blob=True,
)
settings.register_profile(EXPLORE, settings.get_profile(LANDING), derandomize=False, max_examples=3000)
settings.load_profile(LANDING)


def costly(times: int) -> settings:
    """Let a property whose examples are costly have fewer of them: `1 / times` of what others have."""
    return settings(max_examples=settings().max_examples // times)


def pytest_configure() -> None:
    """Draw no constants from sources in a landing run: Hypothesis takes those of all modules imported by then."""
    if settings.get_current_profile_name() == LANDING:
        # There is no setting for this, and a provider of our own is not asked for all draws.
        providers._get_local_constants = Constants
