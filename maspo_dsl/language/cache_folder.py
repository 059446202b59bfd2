"""Where what is slow to make is kept between calls."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path | None:
    """A folder of the user's for files that can be made again; None where there can be none."""
    try:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "maspo-dsl"
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):
        return None
    return folder
