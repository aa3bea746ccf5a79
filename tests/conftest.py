"""Settings of the whole test suite."""

from __future__ import annotations

import math
import sys

import pytest
from hypothesis import settings

# The duration of an example depends on how busy the machine is.
settings.register_profile("without deadline", deadline=None)
settings.load_profile("without deadline")


@pytest.fixture(autouse=True)
def recording_may_take_any_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make all decisions independent of the machine's load; tests of the budget override this."""
    # Missing without torch.
    overhead = sys.modules.get("tb_adam_plugin.callback.schedule.overhead")
    if overhead is not None:
        monkeypatch.setattr(overhead, "ALLOWANCE_SECONDS", math.inf)
