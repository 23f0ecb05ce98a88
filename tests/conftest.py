"""Properties draw the same examples on every run, so that a red run is about the change that it tests.

`HYPOTHESIS_PROFILE=random` draws others each time, to look for what nobody has thought of; `make soak` does.
"""

import os

from hypothesis import settings

settings.register_profile("repeatable", derandomize=True, database=None, deadline=None, print_blob=True)
settings.register_profile("random", deadline=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))
