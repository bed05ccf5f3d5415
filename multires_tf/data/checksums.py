"""Whether a prepared volume is still what a run began with, and whether a text is the same."""

from __future__ import annotations

import concurrent.futures
import hashlib
from collections.abc import Mapping
from pathlib import Path

from multires_tf.ground import errors


def of_text(text: str) -> str:
    """Stands for a text that tells a patient, such as a UID."""
    return hashlib.sha256(text.encode()).hexdigest()


def of_file(path: Path) -> str:
    """Tells a small file from any other."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def marks(
    stores: Mapping[str, Path], known: Mapping[str, Mapping[str, str]]
) -> dict[str, dict[str, str]]:
    """Returns {name: {"stamp": ..., "checksum": ...}} of stores.

    The checksum is that of all files' contents; the stamp that of their names, sizes and times of
    change. Where the stamp is the known one, the files are not read again; a copy of the run folder
    has other times, and is read once.

    Args:
      stores: folders by name.
      known: what this returned before, or nothing.
    """

    def mark(name: str) -> dict[str, str]:
        stamp = _stamp(stores[name])
        if known.get(name, {}).get("stamp") == stamp:
            return dict(known[name])
        return {"stamp": stamp, "checksum": _checksum(stores[name])}

    with concurrent.futures.ThreadPoolExecutor() as pool:  # hashing lets go of the interpreter
        return dict(zip(stores, pool.map(mark, stores), strict=True))


def check(
    stores: Mapping[str, Path],
    now: Mapping[str, Mapping[str, str]],
    known: Mapping[str, Mapping[str, str]],
) -> None:
    """Compares what `marks` returned now with what it returned when the run began.

    Raises:
      UserError: a store was changed, or the run began without it.
    """
    for name, path in stores.items():
        if now[name]["checksum"] != known.get(name, {}).get("checksum"):
            reason = "its contents are not those that the run began with"
            advice = "bring them back, or begin a new run in another --workdir"
            raise errors.UserError(f"{path}: {reason}; {advice}")
    for name in known:
        if name not in now:
            reason = "it was part of the run when it began"
            raise errors.UserError(f"{name}: {reason}; bring it back into the cohort's split")


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _stamp(folder: Path) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for path in _files(folder):
        facts = path.stat()
        line = f"{path.relative_to(folder)}\n{facts.st_size}\n{facts.st_mtime_ns}\n"
        digest.update(line.encode())
    return digest.hexdigest()


def _checksum(folder: Path) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for path in _files(folder):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(folder)}\n{len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()
