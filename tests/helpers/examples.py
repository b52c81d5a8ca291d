"""How many examples hypothesis makes for a test."""

from __future__ import annotations

from typing import Any

from hypothesis import settings


def examples(count: int, **more: Any) -> settings:
    """Settings of so many examples with the default profile, and ten times as many with ``nightly``."""
    return settings(max_examples=count * settings.default.max_examples // 100, **more)
