"""One profile of hypothesis for all tests: the same examples on every run, however slow the machine."""

from hypothesis import settings

settings.register_profile("ci", derandomize=True, deadline=None)
settings.load_profile("ci")
