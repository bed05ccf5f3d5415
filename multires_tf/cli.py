"""The door of the verbs (experiments have `study.main`); it loads neither Keras nor TensorFlow."""

from __future__ import annotations

import argparse
import errno
import importlib
import pathlib
import re
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

from absl import app, logging
from absl.flags import argparse_flags

from multires_tf import config, errors, runfolder

_AGAIN = "what was there before is kept; free some space and run the same command again"
_DISK = {
    errno.ENOSPC: f"the disk is full; {_AGAIN}",
    errno.EDQUOT: f"the disk quota is used up; {_AGAIN}",
    errno.EROFS: "the file system is read-only; choose another folder",
    errno.EACCES: "no permission to read or write here; choose another place or ask its owner",
    errno.EPERM: "no permission to read or write here; choose another place or ask its owner",
    errno.ENOTDIR: "a part of this path is a file, not a folder; choose another folder",
    errno.EFBIG: f"the file grew beyond the allowed size; {_AGAIN}",
}


class _Parser(argparse_flags.ArgumentParser):
    """A parser whose complaint is one line and exit code 2."""

    def __init__(self, **arguments) -> None:
        super().__init__(**{**arguments, "allow_abbrev": False})

    def error(self, message: str) -> NoReturn:
        raise errors.UserError(f"{self.prog}: {message}; see '{self.prog} --help'")


def main() -> None:
    """Runs the command line of this process."""
    app.run(_run, flags_parser=_parse)


def _run(chosen: argparse.Namespace) -> int:
    logging.set_verbosity(logging.WARNING)
    arguments = vars(chosen)
    verb = arguments.pop("verb")
    try:
        for line in run(verb, arguments):
            print(line)
    except errors.PartlyDone as partly:
        for line in partly.lines:
            print(line)
        return 1
    except errors.UserError as error:
        return _complain(str(error), 2)
    except errors.Interruption as error:
        return _complain(str(error), 1)
    except KeyboardInterrupt:
        return _complain("interrupted; the same command continues", 1)
    except OSError as error:
        if error.errno not in _DISK:
            return _failed(verb, error, arguments)
        return _complain(f"{error.filename or verb}: {_DISK[error.errno]}", 2)
    except Exception as error:  # the last resort: users get a line, the log gets the traceback
        return _failed(verb, error, arguments)
    return 0


def run(verb: str, arguments: dict) -> list[str]:
    """Runs one verb with its flags' values and returns the lines it has to say."""
    if "config" in arguments:
        overlays, sets = arguments.pop("overlay"), arguments.pop("sets")
        arguments["config"] = config.load(arguments["config"], overlays, sets)
    step = importlib.import_module(f"multires_tf.steps.{verb}")
    return step.run(**arguments)


def _complain(line: str, code: int) -> int:
    print(f"multires-tf: {line}", file=sys.stderr)
    return code


def _failed(verb: str, error: Exception, arguments: dict) -> int:
    """One line for the user; the traceback goes into the run folder, where there is one."""
    line = f"{verb} failed: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
    folder = arguments.get("workdir")
    if folder is None or not folder.is_dir():
        traceback.print_exc()
        return _complain(line, 1)
    log = runfolder.RunFolder(folder).failure
    try:
        log.write_text(traceback.format_exc(), encoding="utf-8")
    except OSError:
        traceback.print_exc()
        return _complain(line, 1)
    return _complain(f"{line}; details in {log}", 1)


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    try:
        return _parser().parse_args(argv[1:])
    except errors.UserError as error:
        sys.exit(_complain(str(error), 2))


def _parser() -> _Parser:
    parser = _Parser(prog="multires-tf", description="Synthetic CT with uncertainties from MR.")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="verb", parser_class=_Parser)
    _phantom(verbs.add_parser("phantom", help="make a cohort of whole-body phantoms"))
    _describe(verbs.add_parser("describe", help="show a config's network: sizes, parameters"))
    _prepare(verbs.add_parser("prepare", help="bring a cohort into a run folder"))
    _train(verbs.add_parser("train", help="train the network; continues where it stopped"))
    text = "fit the uncertainties' scale and half-widths on the validation subjects"
    _calibrate(verbs.add_parser("calibrate", help=text))
    _predict(verbs.add_parser("predict", help="predict CT and uncertainties"))
    for verb, words in (
        ("evaluate", "score the predictions of the test subjects in HU"),
        ("report", "write one page with curves, tables and pictures"),
    ):
        _workdir(verbs.add_parser(verb, help=words))
    _export(verbs.add_parser("export", help="write a SavedModel and check it against the network"))
    return parser


def _workdir(parser: _Parser) -> None:
    parser.add_argument("--workdir", type=pathlib.Path, required=True, help="the run folder")


def _config(parser: _Parser) -> None:
    path = pathlib.Path
    parser.add_argument("--config", type=path, required=True, help="a file of configs/")
    parser.add_argument("--overlay", type=path, action="append", default=[], help="repeatable")
    text = "key=value over the config; repeatable"
    parser.add_argument("--set", dest="sets", action="append", default=[], help=text)


def _phantom(parser: _Parser) -> None:
    parser.add_argument("--out", type=pathlib.Path, required=True, help="the cohort's folder")
    parser.add_argument("--subjects", type=_count, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--spacing_mm", type=float, default=5.0, help="isotropic, millimetres")
    parser.add_argument("--stations", action="store_true", help="four stations instead of one MR")


def _describe(parser: _Parser) -> None:
    _config(parser)
    parser.add_argument("--json", dest="as_json", action="store_true")


def _prepare(parser: _Parser) -> None:
    _workdir(parser)
    _config(parser)
    parser.add_argument("--data", type=pathlib.Path, required=True, help="cohort folder or .csv")
    text = (
        "number, description or UID of a DICOM series, where there are several; commas part several"
    )
    parser.add_argument("--series", help=text)
    text = "do the others when a subject is bad; the bad ones are listed at the end, exit code 1"
    parser.add_argument("--keep_going", action="store_true", help=text)
    text = "for subjects side by side, e.g. 8GB; default: most of what is free"
    parser.add_argument("--memory", type=_memory, help=text)
    _cluster(parser)


def _train(parser: _Parser) -> None:
    _workdir(parser)
    _config(parser)
    text = "auto (workers if TF_CONFIG is set, else all GPUs, else the CPU) | cpu | cpu:0,cpu:1 | "
    text += "gpu:0 | gpu:0,gpu:1 ... (several are mirrored) | workers (the machines of TF_CONFIG)"
    parser.add_argument("--devices", default="auto", help=text)
    text = "record steps 5 to 9 of this call for TensorBoard's profile tab"
    parser.add_argument("--profile", action="store_true", help=text)
    parser.add_argument("--dry_run", action="store_true", help="check everything, train one step")


def _calibrate(parser: _Parser) -> None:
    _workdir(parser)
    _draws(parser)


def _predict(parser: _Parser) -> None:
    _workdir(parser)
    text = "an image, a folder with one DICOM series, or a cohort; default: the test subjects"
    parser.add_argument("--input", type=pathlib.Path, help=text)
    parser.add_argument("--output", type=pathlib.Path, help="folder for the maps of --input")
    text = "number, description or UID of a DICOM series, where a folder of --input has several"
    parser.add_argument("--series", help=text)
    text = "edge in voxels, or auto: the cheapest that fits --memory; default: the config's"
    parser.add_argument("--tile", type=_tile, help=text)
    text = "e.g. 8GB, by which --tile auto, then the default, chooses; else most of what is free"
    parser.add_argument("--memory", type=_memory, help=text)
    _draws(parser)
    text = "attenuation at 511 keV as well, from a CT at 80, 100, 110, 120, 130 or 140 kV"
    parser.add_argument("--mumap", type=_count, metavar="KVP", help=text)
    text = "blur the attenuation map to a PET's resolution; 0: as it is"
    parser.add_argument("--pet_fwhm_mm", type=_not_negative, default=0.0, metavar="MM", help=text)
    text = "the CT as a DICOM series as well, beside the MR's; says 120 kV if --mumap says no other"
    parser.add_argument("--dicom", dest="as_dicom", action="store_true", help=text)
    text = "total deviation above which the summary counts a voxel as uncertain; 100 HU are a"
    text += " tenth of water's attenuation"
    parser.add_argument(
        "--uncertain_above", dest="uncertain_above_hu", type=_not_negative, default=100.0, help=text
    )
    _cluster(parser)


def _cluster(parser: _Parser) -> None:
    text = "hand the subjects to the Dask scheduler at this address, such as tcp://host:8786"
    parser.add_argument("--cluster", dest="scheduler", metavar="ADDRESS", help=text)


def _draws(parser: _Parser) -> None:
    parser.add_argument("--samples", type=_count, default=20, help="Monte-Carlo draws")
    parser.add_argument("--seed", type=_seed, default=0, help="of the draws")


def _export(parser: _Parser) -> None:
    _workdir(parser)
    kinds = ("float32", "mixed_bfloat16")
    parser.add_argument("--precision", choices=kinds, default="float32", help="of the arithmetic")


def _count(text: str) -> int:
    return _whole(text, 1, 2**31 - 1)


def _seed(text: str) -> int:
    return _whole(text, 0, 2**31 - 1)


def _not_negative(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"needs a number from 0 up, not '{text}'")
    return value


def _tile(text: str) -> int | str:
    return text if text == "auto" else _count(text)


def _memory(text: str) -> float:
    """Bytes from texts such as 8GB or 500MB."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(GB|MB)", text)
    if found is None or float(found[1]) == 0:
        raise argparse.ArgumentTypeError(f"needs a size such as 8GB, not '{text}'")
    return float(found[1]) * {"GB": 1e9, "MB": 1e6}[found[2]]


def _whole(text: str, low: int, high: int) -> int:
    if not (text.isascii() and text.isdigit() and low <= int(text) <= high):
        raise argparse.ArgumentTypeError(f"needs a whole number from {low} to {high}, not '{text}'")
    return int(text)
