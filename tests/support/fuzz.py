"""The number of fuzzing examples; `KEYLEASE_FUZZ_EXAMPLES=1000000` makes a long run."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

EXAMPLES = int(os.environ.get("KEYLEASE_FUZZ_EXAMPLES", "500"))

FUZZ = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""The settings of every fuzz test. No deadline: the machine may be busy with other tests."""
