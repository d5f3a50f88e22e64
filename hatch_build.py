"""Puts the bundled model and the notebooks into the wheel, so that their top-level folders stay the only copy.

An editable install gets no copy: `glmkit.resources` finds the folders themselves.
"""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

BUNDLED = ("checkpoints/glm-nano/*", "notebooks/*.py", "notebooks/*.ipynb")


class BundledData(BuildHookInterface):
    """Maps the files of `BUNDLED` to `glmkit/_data/` under the same names."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            return
        root = Path(self.root)
        for pattern in BUNDLED:
            files = [path for path in sorted(root.glob(pattern)) if path.is_file()]
            if not files:
                raise FileNotFoundError(f"the wheel carries {pattern}, but no such file is in {root}")
            for path in files:
                build_data["force_include"][str(path)] = f"glmkit/_data/{path.relative_to(root).as_posix()}"
