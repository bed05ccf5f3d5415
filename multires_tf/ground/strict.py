"""Strict reading: YAML into frozen dataclasses, where a slip is an error that names its key."""

from __future__ import annotations

import dataclasses
import difflib
import math
import pathlib
import types
import typing
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import yaml

from multires_tf.ground import errors

# PyYAML lets a date that is none, and too many brackets, through as these.
_NO_YAML = (yaml.YAMLError, ValueError, RecursionError)
# What NumPy and TensorFlow hold in 32 bits.
_LARGEST = {int: 2**31 - 1, float: 3.4e38}


class _Loader(yaml.SafeLoader):
    """Refuses a key that is there twice: YAML would forget the first in silence."""

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self._checked: list[yaml.MappingNode] = []

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Checks a mapping as it was written, before what it merges (<<) is put into it."""
        if not any(node is one for one in self._checked):
            self._checked.append(node)
            names: set[str] = set()
            for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
                if key.value in names:
                    text = f"'{key.value}' is there twice"
                    raise yaml.constructor.ConstructorError(None, None, text, key.start_mark)
                names.add(key.value)
        super().flatten_mapping(node)


def read(path: pathlib.Path) -> dict[str, Any]:
    """Returns the mapping that a YAML file holds.

    Raises:
        errors.UserError: no such file, no YAML, or no mapping.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise errors.UserError(f"{path}: no such config; see the folder configs/") from None
    except _NO_YAML as error:
        raise errors.UserError(f"{path}: not readable as YAML: {error}") from None
    if not isinstance(content, dict):
        raise errors.UserError(f"{path}: not a config; it needs lines such as 'seed: 0'")
    return content


def setting(setting: str) -> dict[str, Any]:
    """Returns "a.b=value" as {"a": {"b": value}}, the value read as YAML.

    Raises:
        errors.UserError: it has another form.
    """
    key, sign, value = setting.partition("=")
    if not sign or not key:
        raise errors.UserError(f"--set {setting}: needs the form section.key=value")
    try:
        content = yaml.load(value, _Loader)
    except _NO_YAML:
        raise errors.UserError(f"--set {setting}: the value is not YAML") from None
    for part in reversed(key.split(".")):
        content = {part: content}
    return content


def merge(into: dict[str, Any], difference: dict[str, Any], source: str, prefix: str = "") -> None:
    """Changes `into` by what a later file says.

    Args:
        into: nested; empty at first, when it takes whatever comes.
        difference: likewise, only keys that `into` has.
        source: of the difference, for the message.
        prefix: of the keys' names, in recursion.

    Raises:
        errors.UserError: a key that `into` does not have.
    """
    for key, value in difference.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            merge(into[key], value, source, f"{prefix}{key}.")
        elif prefix and into and key not in into:
            raise errors.UserError(
                f"{source}: {_unknown(f'{prefix}{key}', [prefix + k for k in into])}"
            )
        else:
            into[key] = value


def _unknown(key: str, valid: Sequence[str]) -> str:
    near = difflib.get_close_matches(key, valid, n=1, cutoff=0.0)
    return f"unknown key '{key}'" + (f"; did you mean '{near[0]}'?" if near else "")


def build(kind: type, content: Any, prefix: str) -> Any:
    """Makes dataclass `kind` of a mapping, strictly."""
    if not isinstance(content, dict):
        raise errors.UserError(f"{prefix[:-1]}: needs a section of keys, not {content!r}")
    hints = typing.get_type_hints(kind)
    for key in content:
        if key not in hints:
            raise errors.UserError(_unknown(f"{prefix}{key}", [prefix + k for k in hints]))
    for key in hints:
        if key not in content:
            raise errors.UserError(f"{prefix}{key}: missing; base.yaml has every key")
    return kind(**{k: _value(hint, content[k], f"{prefix}{k}") for k, hint in hints.items()})


def _value(hint: Any, value: Any, key: str) -> Any:
    """Checks one value against its annotation, without guessing."""
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return build(hint, value, f"{key}.")
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        if value in arguments and isinstance(value, str):
            return value
        raise errors.UserError(f"{key}: {value!r} is not one of {', '.join(arguments)}")
    if origin in (typing.Union, types.UnionType):
        if value is None:
            return None
        return _value(next(a for a in arguments if a is not type(None)), value, key)
    if origin is tuple:
        return _sequence(arguments, value, key)
    return _scalar(hint, value, key)


def _sequence(arguments: tuple[Any, ...], value: Any, key: str) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        raise errors.UserError(f"{key}: needs a list, not {value!r}")
    if arguments[-1] is Ellipsis:
        kinds = [arguments[0]] * len(value)
    else:
        kinds = list(arguments)
        if len(kinds) != len(value):
            raise errors.UserError(f"{key}: needs {len(kinds)} values, has {len(value)}")
    return tuple(_value(kind, item, key) for kind, item in zip(kinds, value, strict=True))


def _scalar(hint: type, value: Any, key: str) -> Any:
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value) if abs(value) <= _LARGEST[float] else math.inf
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        advice = "; YAML reads 1e-4 as text, write 1.0e-4" if hint is float else ""
        raise errors.UserError(f"{key}: needs {hint.__name__}, not {value!r}{advice}")
    if isinstance(value, float) and not math.isfinite(value):
        raise errors.UserError(f"{key}: needs a finite number, not {value!r}")
    largest = _LARGEST.get(hint, math.inf)
    if isinstance(value, (int, float)) and abs(value) > largest:
        raise errors.UserError(f"{key}: needs at most {_text(largest)}, not {_text(value)}")
    return value


def _text(number: float) -> str:
    return f"{number:g}" if isinstance(number, float) else str(number)


def plain(value: Any) -> Any:
    """A section as YAML and JSON can hold it: dataclasses as mappings, tuples as lists."""
    if dataclasses.is_dataclass(value):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    return [plain(item) for item in value] if isinstance(value, tuple) else value


def leaves(content: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields ("a.b", value) of everything in a nested mapping that is none itself."""
    for key, value in content.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
