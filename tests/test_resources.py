from pathlib import Path

import pytest

from glmkit import resources
from glmkit.errors import GLMKitError


def test_the_repository_is_found_when_the_package_carries_no_data():
    assert resources.data_path("notebooks") == Path(resources.__file__).parents[1] / "notebooks"


def test_what_the_package_carries_comes_first(tmp_path, monkeypatch):
    package = tmp_path / "glmkit"
    for folder in (package / "_data/notebooks", tmp_path / "notebooks"):
        folder.mkdir(parents=True)
    monkeypatch.setattr(resources, "_PACKAGE", package)
    assert resources.data_path("notebooks") == package / "_data/notebooks"


def test_a_missing_file_is_named_with_the_places_looked_in(tmp_path, monkeypatch):
    monkeypatch.setattr(resources, "_PACKAGE", tmp_path / "glmkit")
    with pytest.raises(GLMKitError, match=r"checkpoints/none.*_data/checkpoints/none.*install glmkit again"):
        resources.data_path("checkpoints/none")


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"GLMKIT_CACHE": "/big/disk", "XDG_CACHE_HOME": "/x"}, "/big/disk"),
        ({"XDG_CACHE_HOME": "/x"}, "/x/glmkit"),
        ({"HOME": "/home/ada"}, "/home/ada/.cache/glmkit"),
    ],
)
def test_the_cache_follows_the_environment(variables, expected, monkeypatch):
    for name in ("GLMKIT_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert resources.cache_dir() == Path(expected)


def test_compiled_programs_are_kept_in_the_cache_unless_that_is_switched_off(monkeypatch):
    monkeypatch.setenv("GLMKIT_CACHE", "/big/disk")
    monkeypatch.delenv("GLMKIT_COMPILATION_CACHE", raising=False)
    assert resources.compilation_cache_dir() == Path("/big/disk/compiled/xla")
    assert resources.program_cache_dir() == Path("/big/disk/compiled/programs")
    monkeypatch.setenv("GLMKIT_COMPILATION_CACHE", "0")
    assert resources.compilation_cache_dir() is None
    assert resources.program_cache_dir() is None


def test_a_cache_in_no_known_home_is_told_with_the_way_out(monkeypatch):
    monkeypatch.setenv("GLMKIT_CACHE", "~no-such-user/cache")
    with pytest.raises(GLMKitError, match="~no-such-user/cache is in no known home; set GLMKIT_CACHE"):
        resources.cache_dir()
