"""The command line of the verbs; it loads neither Keras nor TensorFlow."""

from __future__ import annotations

import argparse
import importlib
import pathlib
from collections.abc import Sequence

from absl import app

from multires_tf import door
from multires_tf.ground import config

_PROGRAM = "multires-tf"
# What to do where a verb had not enough memory.
_LESS_MEMORY = {
    "prepare": "give a smaller --memory, or coarser voxels (spacing_mm)",
    "train": "make sampling.batch, sampling.tile or predict.tile smaller, or set train.recompute or"
    " a mixed train.precision; run 'prepare' with that config, in another --workdir once training"
    " has begun",
    "predict": "give --memory with what is free, or a smaller --tile",
}


def main() -> None:
    """Runs the command line of this process."""
    app.run(_run, flags_parser=_parse)


def _run(chosen: argparse.Namespace) -> int:
    arguments = vars(chosen)
    verb = arguments.pop("verb")
    return door.answer(
        lambda: run(verb, arguments),
        program=_PROGRAM,
        task=verb,
        folder=arguments.get("workdir"),
        less_memory=_LESS_MEMORY.get(verb),
    )


def run(verb: str, arguments: dict) -> list[str]:
    """Runs one verb with its flags' values and returns the lines it has to say."""
    if "config" in arguments:
        overlays, sets = arguments.pop("overlay"), arguments.pop("sets")
        arguments["config"] = config.load(arguments["config"], overlays, sets)
    step = importlib.import_module(f"multires_tf.steps.{verb}")
    return step.run(**arguments)


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    return door.parsed(_parser(), argv)


def _parser() -> door.Parser:
    parser = door.Parser(prog=_PROGRAM, description="Synthetic CT with uncertainties from MR.")
    verbs = parser.add_subparsers(
        dest="verb", required=True, metavar="verb", parser_class=door.Parser
    )
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


def _workdir(parser: door.Parser) -> None:
    parser.add_argument("--workdir", type=pathlib.Path, required=True, help="the run folder")


def _config(parser: door.Parser) -> None:
    path = pathlib.Path
    parser.add_argument("--config", type=path, required=True, help="a file of configs/")
    parser.add_argument("--overlay", type=path, action="append", default=[], help="repeatable")
    text = "key=value over the config; repeatable"
    parser.add_argument("--set", dest="sets", action="append", default=[], help=text)


def _phantom(parser: door.Parser) -> None:
    parser.add_argument("--out", type=pathlib.Path, required=True, help="the cohort's folder")
    parser.add_argument("--subjects", type=door.count, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--spacing_mm", type=float, default=5.0, help="isotropic, millimetres")
    parser.add_argument("--stations", action="store_true", help="four stations instead of one MR")


def _describe(parser: door.Parser) -> None:
    _config(parser)
    parser.add_argument("--json", dest="as_json", action="store_true")


def _prepare(parser: door.Parser) -> None:
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
    parser.add_argument("--memory", type=door.memory, help=text)
    _cluster(parser)


def _train(parser: door.Parser) -> None:
    _workdir(parser)
    _config(parser)
    text = "auto (workers if TF_CONFIG is set, else all GPUs, else the CPU) | cpu | cpu:0,cpu:1 | "
    text += "gpu:0 | gpu:0,gpu:1 ... (several are mirrored) | workers (the machines of TF_CONFIG)"
    parser.add_argument("--devices", default="auto", help=text)
    text = "record steps 5 to 9 of this call for TensorBoard's profile tab"
    parser.add_argument("--profile", action="store_true", help=text)
    parser.add_argument("--dry_run", action="store_true", help="check everything, train one step")


def _calibrate(parser: door.Parser) -> None:
    _workdir(parser)
    _draws(parser)


def _predict(parser: door.Parser) -> None:
    _workdir(parser)
    text = "an image, a folder with one DICOM series, or a cohort; default: the test subjects"
    parser.add_argument("--input", type=pathlib.Path, help=text)
    parser.add_argument("--output", type=pathlib.Path, help="folder for the maps of --input")
    text = "number, description or UID of a DICOM series, where a folder of --input has several"
    parser.add_argument("--series", help=text)
    text = "edge in voxels, or auto: the cheapest that fits --memory; default: the config's"
    parser.add_argument("--tile", type=door.tile, help=text)
    text = "e.g. 8GB, by which --tile auto, then the default, chooses; else most of what is free"
    parser.add_argument("--memory", type=door.memory, help=text)
    _draws(parser)
    text = "attenuation at 511 keV as well, from a CT at 80, 100, 110, 120, 130 or 140 kV"
    parser.add_argument("--mumap", type=door.count, metavar="KVP", help=text)
    text = "blur the attenuation map to a PET's resolution; 0: as it is"
    parser.add_argument(
        "--pet_fwhm_mm", type=door.not_negative, default=0.0, metavar="MM", help=text
    )
    text = "the CT as a DICOM series as well, beside the MR's; says 120 kV if --mumap says no other"
    parser.add_argument("--dicom", dest="as_dicom", action="store_true", help=text)
    text = "total deviation above which the summary counts a voxel as uncertain; 100 HU are a"
    text += " tenth of water's attenuation"
    parser.add_argument(
        "--uncertain_above",
        dest="uncertain_above_hu",
        type=door.not_negative,
        default=100.0,
        help=text,
    )
    _cluster(parser)


def _cluster(parser: door.Parser) -> None:
    text = "hand the subjects to the Dask scheduler at this address, such as tcp://host:8786"
    parser.add_argument("--cluster", dest="scheduler", metavar="ADDRESS", help=text)


def _draws(parser: door.Parser) -> None:
    parser.add_argument("--samples", type=door.count, default=20, help="Monte-Carlo draws")
    parser.add_argument("--seed", type=door.whole, default=0, help="of the draws")


def _export(parser: door.Parser) -> None:
    _workdir(parser)
    kinds = ("float32", "mixed_bfloat16")
    parser.add_argument("--precision", choices=kinds, default="float32", help="of the arithmetic")
