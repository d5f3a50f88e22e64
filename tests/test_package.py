"""The package as its users import it: nothing heavy comes with it, and every public name is there, and stays."""

import ast
import json
import pkgutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

import glmkit

pytestmark = pytest.mark.smoke

HEAVY = ("jax", "flax", "orbax", "tokenizers", "huggingface_hub", "torch", "transformers", "IPython")
PUBLIC = [name for name in glmkit.__all__ if not name.startswith("__")]


def submodules(package: ModuleType) -> list[str]:
    """The names of all modules below `package`, at any depth; `__main__` runs when imported and is left out."""
    walked = pkgutil.walk_packages(package.__path__, package.__name__ + ".")
    return [module.name for module in walked if not module.name.endswith("__main__")]


def in_new_process(code: str) -> object:
    """What `code` prints as JSON in an interpreter of its own."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("module", ["glmkit", "glmkit.cli"])
def test_importing_brings_in_nothing_heavy(module):
    loaded = in_new_process(f"import {module}, json, sys; print(json.dumps(sorted(sys.modules)))")
    assert [name for name in HEAVY if name in loaded] == []


def test_importing_every_public_name_starts_no_device_and_no_torch():
    code = """
import glmkit, json, sys
for name in glmkit.__all__:
    getattr(glmkit, name)
from jax._src import xla_bridge
print(json.dumps([xla_bridge.backends_are_initialized(), "torch" in sys.modules]))
"""
    assert in_new_process(code) == [False, False]


def test_dir_lists_the_public_names():
    assert dir(glmkit) == sorted(glmkit.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'glmkit' has no attribute 'no_such_name'"):
        glmkit.no_such_name  # noqa: B018


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_is_the_same_object_after_every_submodule_was_imported(name):
    first = getattr(glmkit, name)
    for module in submodules(glmkit):
        import_module(module)
    assert getattr(glmkit, name) is first


def test_no_public_name_is_also_a_submodule_of_its_package():
    """Importing the submodule would put it in the place of the function or class."""
    for package in [glmkit, *map(import_module, submodules(glmkit))]:
        if not hasattr(package, "__path__"):
            continue
        children = {module.name for module in pkgutil.iter_modules(package.__path__)}
        clashes = {
            name
            for name in children & set(getattr(package, "__all__", ()))
            if not isinstance(getattr(package, name), ModuleType)
        }
        assert not clashes, f"{package.__name__}: {clashes}"


def test_type_checkers_see_the_same_names_from_the_same_modules():
    tree = ast.parse(Path(glmkit.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {
        alias.asname: None if node.module == "glmkit" else node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == glmkit._HOME
