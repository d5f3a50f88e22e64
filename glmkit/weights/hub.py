"""Finding a checkpoint folder: a local one, or that of a Hugging Face Hub id, from the cache or fetched into it.

`huggingface_hub` does the work and honours its own variables: HF_TOKEN, HF_HUB_OFFLINE, HF_HUB_CACHE, HF_ENDPOINT.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from huggingface_hub import constants, snapshot_download
from huggingface_hub.errors import (
    DryRunError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    HTTPError,  # of the HTTP library that huggingface_hub uses
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from glmkit.errors import HubError

ASK_ABOVE_BYTES = 20 * 1000**3
_FILES = {
    "allow_patterns": ["*.safetensors", "*.json", "*.jinja", "tokenizer*", "README.md", "LICENSE"],
    "ignore_patterns": ["*/*"],  # other copies of the weights lie in folders of their own
}


def resolve(
    name_or_path: str | os.PathLike[str],
    revision: str | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    download: bool = False,
) -> Path:
    """The local path of a checkpoint: `name_or_path` itself if it exists, else the snapshot of that Hub id.

    Only weights, tokenizer, template, configuration, card and licence are fetched, into `cache_dir` or the Hub's own
    cache; more than 20 GB only with `download=True`. What the cache already holds counts nothing, and serves when the
    Hub cannot be reached. Raises HubError for an unknown id or revision, for too large a download, and when there is
    neither network nor cached copy.
    """
    try:
        local = Path(name_or_path).expanduser()
    except RuntimeError as error:
        raise HubError(f"there is no folder {os.fspath(name_or_path)}: {error}") from error
    if local.exists():
        if revision is not None:
            raise HubError(f"revision={revision!r} selects among a Hub id's versions, but {local} is a local path")
        return local
    name = os.fspath(name_or_path)
    if name.count("/") != 1:
        raise HubError(f"there is no folder {name}, nor is it a Hub id such as zai-org/GLM-4.5-Air")
    cache = Path(cache_dir or constants.HF_HUB_CACHE).expanduser()
    try:
        planned = snapshot_download(name, revision=revision, cache_dir=cache, dry_run=True, **_FILES)
    except DryRunError as error:
        return _from_cache(name, revision, cache, error.__cause__ or error)
    except RevisionNotFoundError as error:
        raise HubError(f"{name} has no revision {revision!r}; see its versions at {_page(name)}/commits") from error
    except HFValidationError as error:
        raise HubError(f"there is no folder {name}, nor is it a Hub id such as zai-org/GLM-4.5-Air: {error}") from error
    except (HTTPError, OSError) as error:
        return _from_cache(name, revision, cache, error)
    if not any(file.filename.endswith(".safetensors") for file in planned):
        raise HubError(f"{name} holds no safetensors, the only weights glmkit reads; see {_page(name)}/tree/main")
    _check_size(name, cache, sum(file.file_size or 0 for file in planned if file.will_download), download)
    try:
        return Path(snapshot_download(name, revision=revision, cache_dir=cache, **_FILES))
    except (HTTPError, OSError) as error:
        raise HubError(f"fetching {name} into {cache} broke off ({error}); a second try goes on from there") from error


def _check_size(name: str, cache: Path, nbytes: int, download: bool) -> None:
    size = f"{nbytes / 1000**3:.1f} GB"
    if nbytes > ASK_ABOVE_BYTES and not download:
        raise HubError(f"{name} needs {size} fetched into {cache}; pass download=True to allow more than 20 GB")
    existing = next(folder for folder in (cache, *cache.absolute().parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    if nbytes > free:
        raise HubError(f"{name} needs {size}, but {cache} has {free / 1000**3:.1f} GB free; pass another cache_dir")


def _from_cache(name: str, revision: str | None, cache: Path, reason: BaseException) -> Path:
    """The cached snapshot, for when the Hub gave no answer, or refused one, for `reason`."""
    try:
        return Path(snapshot_download(name, revision=revision, cache_dir=cache, local_files_only=True, **_FILES))
    except LocalEntryNotFoundError as error:
        raise HubError(_not_found(name, revision, cache, reason)) from error


def _not_found(name: str, revision: str | None, cache: Path, reason: BaseException) -> str:
    if isinstance(reason, GatedRepoError):
        return f"{name} is gated; ask for access at {_page(name)}, then set HF_TOKEN"
    if isinstance(reason, RepositoryNotFoundError):
        return f"{name} is neither a folder here nor a model on the Hub that you may read (HF_TOKEN says who you are)"
    if isinstance(reason, HfHubHTTPError):
        return f"the Hub answered with an error for {name}, and {cache} holds no complete copy: {reason}"
    at = f" --revision {revision}" if revision else ""
    return (
        f"{name} is no folder here, {cache} holds no complete copy of it, and the Hub cannot be reached ({reason}). "
        f"Fill that cache where there is a network with `hf download {name}{at}`, or pass cache_dir= of another"
    )


def _page(name: str) -> str:
    return f"{constants.ENDPOINT}/{name}"
