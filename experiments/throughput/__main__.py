"""The command line: a question and its settings in, a table out, on stdout and in a file."""

from __future__ import annotations

import argparse
import json
import pathlib
from collections.abc import Iterator

from experiments.throughput import branch, feeding, memory, network, predict, prepare, tables
from multires_tf import door

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
    found = QUESTIONS[chosen.question].measure(chosen)
    yield tables.markdown(found["rows"])
    chosen.results.mkdir(parents=True, exist_ok=True)
    path = chosen.results / f"throughput_{chosen.question}.json"
    path.write_text(json.dumps({**tables.circumstances(), **found}, indent=1), encoding="utf-8")


if __name__ == "__main__":
    door.enter(parser, table)
