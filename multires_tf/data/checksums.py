"""Checksums: of images, files and texts, and of the volumes that a run began with."""

from __future__ import annotations

import concurrent.futures
import hashlib
from collections.abc import Mapping
from pathlib import Path

from multires_tf.data.files import images
from multires_tf.ground import errors


def of_text(text: str) -> str:
    """Tells a text from any other."""
    return hashlib.sha256(text.encode()).hexdigest()


def of_series(series: str | None) -> str | None:
    """What files say of a chosen DICOM series, whose UID they must not; None stays None."""
    return series and of_text(series)


def of_image(path: Path) -> str:
    """Returns the SHA-256 of an image's bytes, of all its files where it is a folder.

    Raises:
      UserError: a file may not be read.
    """
    digest = hashlib.sha256()
    for part in images.stations_in(path) or [path]:
        files = sorted(entry for entry in part.rglob("*") if entry.is_file()) or [part]
        for file in files:
            with errors.reading(file), open(file, "rb") as stream:
                while chunk := stream.read(1 << 20):
                    digest.update(chunk)
    return digest.hexdigest()


def of_file(path: Path) -> str:
    """Tells a small file from any other."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def stamped(
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

    def stamp(name: str) -> dict[str, str]:
        found = _stamp(stores[name])
        if known.get(name, {}).get("stamp") == found:
            return dict(known[name])
        return {"stamp": found, "checksum": _checksum(stores[name])}

    with concurrent.futures.ThreadPoolExecutor() as pool:  # hashing lets go of the interpreter
        return dict(zip(stores, pool.map(stamp, stores), strict=True))


def check(
    stores: Mapping[str, Path],
    now: Mapping[str, Mapping[str, str]],
    known: Mapping[str, Mapping[str, str]],
) -> None:
    """Compares what `stamped` returned now with what it returned when the run began.

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
