"""Finding a checkpoint: local folders, the Hub's answers (simulated), and no network at all (real)."""

import subprocess
import sys
from dataclasses import dataclass

import pytest
from huggingface_hub.errors import (
    DryRunError,
    GatedRepoError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import filter_repo_objects

from glmkit.errors import HubError
from glmkit.weights import hub

AIR = "zai-org/GLM-4.5-Air"
GB = 1000**3


@dataclass(frozen=True)
class File:
    """What `snapshot_download(dry_run=True)` says of one file, as far as it matters here."""

    filename: str
    file_size: int | None
    will_download: bool = True


@dataclass
class FakeHub:
    """Stands in for `snapshot_download`: a repository's files, or the error the Hub answers with."""

    folder: object
    files: list
    answer: BaseException | None = None
    cached: bool = False
    broken: bool = False
    fetched: bool = False

    def snapshot_download(self, name, *, revision, cache_dir, dry_run=False, local_files_only=False, **patterns):
        self.asked = {"name": name, "revision": revision, "cache_dir": cache_dir}
        if local_files_only:
            if not self.cached:
                raise LocalEntryNotFoundError("no snapshot")
            return str(self.folder)
        if dry_run:
            if isinstance(self.answer, RevisionNotFoundError):
                raise self.answer
            if self.answer is not None:
                raise DryRunError("no dry run") from self.answer
            return list(filter_repo_objects(self.files, key=lambda file: file.filename, **patterns))
        if self.broken:
            raise ConnectionResetError("connection reset")
        self.fetched = True
        return str(self.folder)


def http_error(kind, message="refused"):
    """An error of huggingface_hub's, which wants the HTTP response it was made from."""
    error = kind.__new__(kind)
    error.args = (message,)
    return error


@pytest.fixture
def fake(tmp_path, monkeypatch):
    repository = FakeHub(
        tmp_path,
        [
            File("model-00001-of-00002.safetensors", 15 * GB),
            File("model-00002-of-00002.safetensors", 3 * GB),
            File("config.json", 1000),
            File("chat_template.jinja", None),
            File("tokenizer.model", 1000),
            File("model.gguf", 100 * GB),
            File("pytorch_model.bin", 100 * GB),
            File("original/consolidated.safetensors", 100 * GB),
        ],
    )
    monkeypatch.setattr(hub, "snapshot_download", repository.snapshot_download)
    monkeypatch.setattr(hub.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 50 * GB}))
    return repository


def test_a_local_path_is_taken_as_it_is(tmp_path, fake):
    assert hub.resolve(tmp_path) == tmp_path
    assert hub.resolve(str(tmp_path)) == tmp_path
    with pytest.raises(HubError, match=r"revision='main' selects among a Hub id's versions, but .* is a local path"):
        hub.resolve(tmp_path, revision="main")


def test_a_home_folder_that_nobody_has_is_told():
    with pytest.raises(HubError, match="there is no folder ~nobody_here/m"):
        hub.resolve("~nobody_here/m")


@pytest.mark.parametrize("name", ["glm-4.5-air", "./checkpoints/nano/x", "/nowhere/at/all", "zai-org/GLM 4.5"])
def test_what_can_be_neither_a_folder_nor_an_id_is_refused(name):
    with pytest.raises(HubError, match=f"there is no folder {name}, nor is it a Hub id such as zai-org/"):
        hub.resolve(name)


def test_a_small_repository_is_fetched(fake, tmp_path):
    assert hub.resolve(AIR, revision="v1", cache_dir=tmp_path / "cache") == tmp_path
    assert fake.fetched
    assert fake.asked == {"name": AIR, "revision": "v1", "cache_dir": tmp_path / "cache"}


def test_more_than_20_gb_is_fetched_only_on_request(fake, tmp_path):
    fake.files.append(File("model-00003-of-00003.safetensors", 4 * GB))
    with pytest.raises(HubError, match=f"{AIR} needs 22.0 GB fetched into {tmp_path}; pass download=True"):
        hub.resolve(AIR, cache_dir=tmp_path)
    assert not fake.fetched
    assert hub.resolve(AIR, cache_dir=tmp_path, download=True) == tmp_path


def test_what_the_cache_holds_counts_nothing(fake, tmp_path):
    fake.files.append(File("model-00003-of-00003.safetensors", 400 * GB, will_download=False))
    assert hub.resolve(AIR, cache_dir=tmp_path) == tmp_path


def test_a_disk_too_small_is_noticed_before_the_download(fake, tmp_path):
    fake.files.append(File("model-00003-of-00003.safetensors", 60 * GB))
    with pytest.raises(HubError, match=r"needs 78.0 GB, but .*/new/cache has 50.0 GB free; pass another cache_dir"):
        hub.resolve(AIR, cache_dir=tmp_path / "new" / "cache", download=True)
    assert not fake.fetched


def test_a_repository_without_safetensors_is_refused(fake):
    fake.files[:] = [File("glm-4.5-air-Q4_K_M.gguf", GB), File("config.json", 1000)]
    with pytest.raises(HubError, match=f"{AIR} holds no safetensors, the only weights glmkit reads"):
        hub.resolve(AIR)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (http_error(RepositoryNotFoundError), f"{AIR} is neither a folder here nor a model on the Hub .*HF_TOKEN"),
        (http_error(GatedRepoError), f"{AIR} is gated; ask for access at .*/{AIR}, then set HF_TOKEN"),
        (http_error(RevisionNotFoundError), f"{AIR} has no revision 'v9'"),
        (OfflineModeIsEnabled("HF_HUB_OFFLINE is set"), "the Hub cannot be reached .HF_HUB_OFFLINE is set"),
    ],
)
def test_what_the_hub_refuses_is_said(fake, answer, message, tmp_path):
    fake.answer = answer
    with pytest.raises(HubError, match=message):
        hub.resolve(AIR, revision="v9", cache_dir=tmp_path)


def test_without_network_the_cached_copy_serves(fake, tmp_path):
    fake.answer, fake.cached = OfflineModeIsEnabled("offline"), True
    assert hub.resolve(AIR) == tmp_path


def test_a_broken_download_can_go_on(fake):
    fake.broken = True
    with pytest.raises(HubError, match=f"fetching {AIR} into .* broke off .connection reset.; a second try goes on"):
        hub.resolve(AIR)


def test_offline_with_the_real_library(tmp_path, monkeypatch):
    script = (
        "import sys; from glmkit.errors import HubError; from glmkit.weights.hub import resolve\n"
        f"try: resolve({AIR!r}, revision='v1', cache_dir=sys.argv[1])\n"
        "except HubError as error: print(error)\n"
    )
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    done = subprocess.run([sys.executable, "-c", script, tmp_path], capture_output=True, text=True, check=True)
    assert f"{tmp_path} holds no complete copy" in done.stdout
    assert "HF_HUB_OFFLINE" in done.stdout
    assert f"hf download {AIR} --revision v1" in done.stdout
