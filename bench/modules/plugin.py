"""A plugin of pytest: the fixture `assert_memorizes`, and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import pytest


@pytest.fixture
def assert_memorizes() -> Callable[..., str]:
    """`bench.assert_memorizes`, which imports torch when it is called."""
    import bench

    return bench.assert_memorizes
