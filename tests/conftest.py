"""For all tests: one profile of hypothesis, the same examples on every run; and no way to the published weights' addresses."""

import os

from hypothesis import settings

settings.register_profile("ci", derandomize=True, deadline=None)
settings.load_profile("ci")

os.environ["OPENCV_SQUEEZEDET_MIRROR"] = os.path.join(os.sep, "tests", "fetch", "nothing")
