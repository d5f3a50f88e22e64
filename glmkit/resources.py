"""Where glmkit's own files are: what is bundled with it, and the folder it caches in. Reads and writes nothing."""

import os
from pathlib import Path

from glmkit.errors import GLMKitError

__all__ = ["cache_dir", "compilation_cache_dir", "data_path", "program_cache_dir"]

_PACKAGE = Path(__file__).resolve().parent


def data_path(name: str) -> Path:
    """The bundled file or folder `name`, such as "checkpoints/glm-nano" or "notebooks".

    It lies inside an installed wheel, and at the top of the repository otherwise. Raises GLMKitError if in neither.
    """
    places = [_PACKAGE / "_data" / name, _PACKAGE.parent / name]
    for place in places:
        if place.exists():
            return place
    looked_in = " nor ".join(str(place) for place in places)
    raise GLMKitError(f"{name} should come with glmkit but is neither {looked_in}; install glmkit again")


def cache_dir() -> Path:
    """glmkit's own cache folder, which may not exist yet: GLMKIT_CACHE, else `glmkit` in the user's cache folder.

    Raises GLMKitError where it is in a home folder that cannot be found.
    """
    chosen = os.environ.get("GLMKIT_CACHE") or os.path.join(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "glmkit")
    try:
        return Path(chosen).expanduser()
    except RuntimeError as error:
        raise GLMKitError(f"the cache folder {chosen} is in no known home; set GLMKIT_CACHE to another") from error


def compilation_cache_dir() -> Path | None:
    """Where JAX keeps what it compiled for the next process; None with GLMKIT_COMPILATION_CACHE=0."""
    return _compiled("xla")


def program_cache_dir() -> Path | None:
    """Where the engine keeps its finished programs for the next process; None with GLMKIT_COMPILATION_CACHE=0."""
    return _compiled("programs")


def _compiled(kind: str) -> Path | None:
    return None if os.environ.get("GLMKIT_COMPILATION_CACHE") == "0" else cache_dir() / "compiled" / kind
