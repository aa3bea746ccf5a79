"""Settings of the whole test suite."""

from __future__ import annotations

from hypothesis import settings

# How long an example takes tells how busy the machine is.
settings.register_profile("without deadline", deadline=None)
settings.load_profile("without deadline")
