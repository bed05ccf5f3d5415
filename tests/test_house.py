"""The house keeps its floors: imports go down, doors are light, no config or key is orphaned."""

from __future__ import annotations

import ast
import dataclasses
import functools
import gc
import graphlib
import pathlib
import re
import subprocess
import sys
import typing

import pytest

from multires_tf.ground import config

ROOT = pathlib.Path(__file__).parent.parent
PACKAGE = ROOT / "multires_tf"
WINGS = ("data", "model", "learn", "measure")
# From the ground up. Inside a room imports are free, as long as they make no cycle.
FLOORS = (
    ("ground",),
    WINGS,  # never another's
    ("joints",),
    ("steps",),  # never each other
    ("door",),
    ("studies", "cli"),
    ("__main__",),
)
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")


def _name(path: pathlib.Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


@functools.cache
def _tree(path: pathlib.Path) -> ast.Module:
    gc.disable()  # CPython 3.11 fails where finalizers run while it builds a tree
    try:
        return ast.parse(path.read_text(encoding="utf-8"))
    finally:
        gc.enable()


def _imports(path: pathlib.Path) -> set[str]:
    """Full names of all modules that a file imports, wherever in it, typing apart."""
    found = set()
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def _inner(path: pathlib.Path) -> set[str]:
    """Modules of this package that a file imports, or names in them."""
    named = {name for name in _imports(path) if name.startswith("multires_tf.")}
    return named | {name.rpartition(".")[0] for name in named if name.count(".") > 1}


def _room(name: str) -> str:
    return name.split(".")[1]


def _floor(room: str) -> int:
    return next(i for i, rooms in enumerate(FLOORS) if room in rooms)


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_imports_go_down(path):
    room = _room(_name(path))
    for imported in _inner(path):
        other = _room(imported)
        if other != room or room == "steps":
            assert _floor(other) < _floor(room), f"{_name(path)} imports {imported}"


def test_imports_make_no_cycle():
    modules = {_name(path): path for path in MODULES}
    graph = {name: _inner(path) & set(modules) for name, path in modules.items()}
    assert "multires_tf.door" in graph["multires_tf.cli"]
    list(graphlib.TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_wings_never_see_the_config(path):
    if _room(_name(path)) in WINGS:
        assert not {"multires_tf.ground.config", "multires_tf.ground.sections"} & _imports(path)


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_in_the_tensor_and_number_wings_what_knows_tensorflow_is_named_for_it(path):
    if _room(_name(path)) in ("model", "measure") and not path.stem.endswith("_tensorflow"):
        assert not [name for name in _imports(path) if name.split(".")[0] == "tensorflow"]


def test_the_door_is_light():
    code = (
        "import sys, multires_tf.cli;"
        "print([m for m in ('tensorflow', 'keras', 'jax', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_files_are_short_and_named_for_a_job():
    for path in MODULES:
        lines = len(path.read_text(encoding="utf-8").splitlines())
        assert lines <= 300, f"{_name(path)} has {lines} lines"
        assert not re.search(r"util|helper|common|misc", path.stem), _name(path)


def test_every_module_says_what_it_is_for():
    for path in MODULES:
        assert ast.get_docstring(_tree(path)), _name(path)


def test_no_config_is_an_orphan():
    documents = "".join(
        path.read_text(encoding="utf-8")
        for path in [ROOT / "README.md", ROOT / "Makefile", *(ROOT / "experiments").glob("*")]
        if path.is_file()
    )
    for path in (ROOT / "configs").rglob("*.yaml"):
        named = rf"{path.stem}\.yaml|EXP={path.stem}\b|`{path.stem}`|\"{path.stem}\""
        assert re.search(named, documents), f"{path.name} is named nowhere"


def test_the_map_of_the_readme_names_every_module():
    map_ = (ROOT / "README.md").read_text(encoding="utf-8").partition("## How it works")[2]
    for path in MODULES:
        if path.parent.name in ("learn", "phantom") or path.stem == "__main__":
            continue  # the map names these wings whole
        assert re.search(rf"\b{path.stem}(\.py)?`", map_), f"{_name(path)} is not on the map"


def _keys(kind: type) -> set[str]:
    hints = typing.get_type_hints(kind)
    own = {name for name, hint in hints.items() if not dataclasses.is_dataclass(hint)}
    return own.union(*(_keys(h) for h in hints.values() if dataclasses.is_dataclass(h)))


def test_no_knob_is_dead():
    """Laws in `sections` and `config` check a key; somebody else has to use it."""
    readers = [path for path in MODULES if "multires_tf.ground.config" in _imports(path)]
    code = "".join(path.read_text(encoding="utf-8") for path in readers)
    # Keys that nobody but the config itself needs.
    own = {"schema"}
    for key in sorted(_keys(config.Config) - own):
        assert re.search(rf"\.{key}\b", code), f"no code reads the config key '{key}'"
