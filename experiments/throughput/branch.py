"""One branch beside MONAI's HighResNet: seconds a training step and a forward pass.

Every contestant lives in a process of its own and works only when it is its turn, so that rounds
are interleaved and what else the machine does disturbs all alike.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import subprocess
import sys
from typing import Any

from experiments.throughput import roofline
from experiments.throughput.contestant import ITEMSIZES
from multires_tf import door
from multires_tf.ground import errors

PRECISIONS = ("float32", "bfloat16")
LAYOUTS = ("contiguous", "channels_last_3d")
# The peer has one 1x1x1 convolution of 80 before its last where the original has three: "short" is
# our branch with a tail like the peer's.
OURS = ("ours", "ours_short")


@dataclasses.dataclass(frozen=True)
class Contestant:
    """What one process builds and runs.

    Attributes:
        who: "ours", "ours_short" or "monai".
        precision: "float32" or "bfloat16" (activations; weights stay float32).
        layout: of the peer's tensors in memory.
        compiled: whether the peer goes through torch.compile.
        edge: of the window in voxels.
    """

    who: str
    precision: str
    layout: str = ""
    compiled: bool = False
    edge: int = 80

    @property
    def name(self) -> str:
        """Its row in the table."""
        parts = [self.who, self.precision, self.layout, "compiled" if self.compiled else ""]
        return " ".join(part for part in parts if part)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds this question's flags."""
    parser.add_argument(
        "--edge", type=door.count, default=80, help="of the window, a multiple of 4"
    )
    parser.add_argument(
        "--rounds", type=door.count, default=3, help="timed steps and passes of each"
    )
    parser.add_argument("--compile", action="store_true", help="the peer with torch.compile, too")
    parser.add_argument("--peer", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--precision", action="append", choices=PRECISIONS, help="repeatable")
    parser.add_argument("--only", action="append", help="names that begin so; repeatable")


def contestants(chosen: argparse.Namespace) -> list[Contestant]:
    """Those that the flags ask for.

    Raises:
        errors.UserError: --only names none; --edge does not divide by the largest dilation.
    """
    if chosen.edge % 4:
        raise errors.UserError(f"--edge {chosen.edge}: needs a multiple of 4")
    found = []
    for precision in chosen.precision or PRECISIONS:
        found += [Contestant(who, precision, edge=chosen.edge) for who in OURS]
        if chosen.peer:
            found += [
                Contestant("monai", precision, layout, compiled, chosen.edge)
                for layout in LAYOUTS
                for compiled in ([False, True] if chosen.compile else [False])
            ]
    if chosen.only:
        found = [one for one in found if one.name.startswith(tuple(chosen.only))]
    if not found:
        raise errors.UserError(f"--only {chosen.only}: no contestant's name begins so")
    return found


def measure(chosen: argparse.Namespace) -> dict[str, Any]:
    """Runs the rounds, one precision after the other; rows hold medians."""
    asked = contestants(chosen)
    rows: list[dict[str, Any]] = []
    seconds: dict[str, dict[str, list[float]]] = {}
    ceilings: dict[str, dict[str, float]] = {}
    for precision in PRECISIONS:
        players: list[_Player] = []
        try:
            for one in asked:
                if one.precision == precision:
                    players.append(_Player(one))
            seconds |= _rounds(players, chosen.rounds)
            told = _described(players)
            rows += [_row(player, told[player.name], seconds[player.name]) for player in players]
            for one in told.values():
                ceilings[precision] = dataclasses.asdict(one["ceilings"])
        finally:
            for player in players:
                player.stop()
    found = {"edge": chosen.edge, "rounds": chosen.rounds, "ceilings": ceilings}
    return {**found, "rows": _ratios(rows), "all": seconds}


def _rounds(players: list[_Player], rounds: int) -> dict[str, dict[str, list[float]]]:
    """Seconds of each player's steps and passes; the first of each warms up."""
    seconds: dict[str, dict[str, list[float]]] = {
        player.name: {"step": [], "forward": []} for player in players
    }
    for number in range(rounds + 1):
        for player in players:
            for what, times in seconds[player.name].items():
                took = player.ask(what)["seconds"]
                print(f"{player.name}: {what} {took:.3g} s", file=sys.stderr)
                if number:
                    times.append(took)
    return seconds


def _row(player: _Player, told: dict[str, Any], seconds: dict[str, list[float]]) -> dict[str, Any]:
    row = {"contestant": player.name, "device": told["device"]}
    work = roofline.convolutions(
        told["kernels"],
        voxels=player.contestant.edge**3,
        itemsize=ITEMSIZES[player.contestant.precision],
    )
    for what, passes in (("step", roofline.BACKWARD), ("forward", 1)):
        median = statistics.median(seconds[what])
        tflops, gbs, times = roofline.summary(work * passes, median, told["ceilings"])
        row |= {f"{what} s": median, f"{what} TFLOP/s": tflops, f"{what} GB/s": gbs}
        row[f"{what} / roofline"] = times
    return {**row, "peak GiB": told["peak_gib"]}


def _described(players: list[_Player]) -> dict[str, dict[str, Any]]:
    """What the players say of themselves; the ceilings are the highest that any of them found."""
    told = {player.name: player.ask("describe") for player in players}
    found = [one["ceilings"] for one in told.values()]
    highest = {name: max(one[name] for one in found) for name in found[0]} if found else {}
    return {name: {**one, "ceilings": roofline.Ceilings(**highest)} for name, one in told.items()}


def _ratios(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Adds how many times faster than the peer's best of equal precision each of ours is."""
    for row in rows:
        who, precision = row["contestant"].split()[:2]
        peers = [r for r in rows if r["contestant"].startswith(f"monai {precision}")]
        if who in OURS and peers:
            for what in ("step", "forward"):
                best = min(peer[f"{what} s"] for peer in peers)
                row[f"{what} ratio"] = best / row[f"{what} s"]
    return rows


class _Player:
    """The process of one contestant, which answers one line of JSON to each word."""

    def __init__(self, contestant: Contestant) -> None:
        specification = json.dumps(dataclasses.asdict(contestant))
        command = [sys.executable, "-m", "experiments.throughput.contestant", specification]
        self.name, self.contestant = contestant.name, contestant
        # All of them are in the accelerator's memory at a time.
        shared = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", **os.environ}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=shared
        )

    def ask(self, word: str) -> dict[str, Any]:
        """Sends a word and waits for the answer.

        Raises:
            errors.UserError: the process ended; what it said is on stderr.
        """
        assert self._process.stdin and self._process.stdout
        try:
            self._process.stdin.write(word + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            remedy = "see above; the peer needs the extra 'bench', --no-peer does without"
            raise errors.UserError(f"contestant {self.name} gave up: {remedy}")
        return json.loads(answer)

    def stop(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.communicate()
