"""The command line: a question and its settings in, a table out, on stdout and in a file."""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
from collections.abc import Sequence

from absl import app
from absl.flags import argparse_flags

from experiments.throughput import branch, feeding, memory, network, predict, prepare, tables
from multires_tf import errors

RESULTS = pathlib.Path(__file__).parents[1] / "results"
QUESTIONS = {
    "branch": branch,
    "network": network,
    "input": feeding,
    "predict": predict,
    "memory": memory,
    "prepare": prepare,
}


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse_flags.ArgumentParser(allow_abbrev=False)
    questions = parser.add_subparsers(dest="question", required=True)
    for name, module in QUESTIONS.items():
        text = module.__doc__.splitlines()[0]
        own = questions.add_parser(name, help=text, description=text, allow_abbrev=False)
        own.add_argument(
            "--results", type=pathlib.Path, default=RESULTS, help="where the file goes"
        )
        module.add_flags(own)
    return parser.parse_args(argv[1:])


def main(chosen: argparse.Namespace) -> int:
    """Answers one question."""
    try:
        found = QUESTIONS[chosen.question].measure(chosen)
    except errors.UserError as error:
        print(error, file=sys.stderr)
        return 2
    print(tables.markdown(found["rows"]))
    chosen.results.mkdir(parents=True, exist_ok=True)
    path = chosen.results / f"throughput_{chosen.question}.json"
    path.write_text(json.dumps({**tables.circumstances(), **found}, indent=1), encoding="utf-8")
    return 0


if __name__ == "__main__":
    app.run(main, flags_parser=parse)
