"""The command line: a question and its settings in, a table out, on stdout and in a file."""

from __future__ import annotations

import argparse
import pathlib
from collections.abc import Iterator

from experiments.throughput import branch, feeding, memory, network, predict, prepare, tables
from multires_tf import door
from multires_tf.ground import errors, runfolder, runtime

RESULTS = pathlib.Path(__file__).parents[1] / "results"
QUESTIONS = {
    "branch": branch,
    "network": network,
    "input": feeding,
    "predict": predict,
    "memory": memory,
    "prepare": prepare,
}


def parser() -> door.Parser:
    """The flags of all questions."""
    parser = door.Parser(prog="throughput")
    questions = parser.add_subparsers(dest="question", required=True)
    for name, module in QUESTIONS.items():
        text = module.__doc__.splitlines()[0]
        own = questions.add_parser(name, help=text, description=text)
        own.add_argument(
            "--results", type=pathlib.Path, default=RESULTS, help="where the file goes"
        )
        module.add_flags(own)
    return parser


def table(chosen: argparse.Namespace) -> Iterator[str]:
    """Answers one question, then writes the file: what was measured is told in any case."""
    place = chosen.results.absolute()
    there = next(part for part in (place, *place.parents) if part.exists())
    if not there.is_dir():  # told before it costs minutes
        raise errors.UserError(f"--results: {there} is a file, not a folder; choose another")
    runtime.settle_tensorflow()  # of the processes in which it is measured, too
    found = QUESTIONS[chosen.question].measure(chosen)
    yield tables.markdown(found["rows"])
    path = chosen.results / f"throughput_{chosen.question}.json"
    runfolder.write_json(path, {**tables.circumstances(), **found})


if __name__ == "__main__":
    door.enter(parser, table)
