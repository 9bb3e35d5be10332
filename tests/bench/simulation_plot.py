"""The picture of a simulation's scheduling rounds: `simulation.svg` from `simulation_passes.csv`.

    python -m tests.bench.simulation_plot

A point for each round: its milliseconds against the candidates that it looked at, both axes in powers of ten. The
line is what a time that grows as the candidates do would look like, through the median of the smallest rounds.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from tests.bench.log_plot import LogPlot

_HERE = Path(__file__).resolve().parent
#: Columns of the file from which on there are milliseconds of a round's steps.
_FIRST_STEP = 3
_SMALL = 20


def main() -> None:
    """Write the picture."""
    with (_HERE / "simulation_passes.csv").open() as file:
        _, *rows = csv.reader(file)
    rounds = [(float(row[0]), sum(map(float, row[_FIRST_STEP:]))) for row in rows if float(row[0]) >= 1]
    (_HERE / "simulation.svg").write_text(picture(rounds))


def picture(rounds: Sequence[tuple[float, float]]) -> str:
    """An SVG of rounds, (candidates, milliseconds)."""
    plot = LogPlot(first=(1, 10), per_power=(165, 75))
    parts = [
        f'<circle cx="{plot.across(count):.1f}" cy="{plot.down(milliseconds):.1f}" r="1.5" fill="#06c"/>'
        for count, milliseconds in rounds
    ]
    small = [each for each in rounds if each[0] <= _SMALL]
    if small:
        at, took = (median(values) for values in zip(*small, strict=True))
        ends = [(at, took), (500.0, took * 500 / at)]
        line = " ".join(f"{plot.across(count):.1f},{plot.down(milliseconds):.1f}" for count, milliseconds in ends)
        parts.append(f'<polyline points="{line}" fill="none" stroke="#c30" stroke-dasharray="5 4"/>')
    return plot.svg(
        parts,
        columns=(1, 10, 100),
        times=(10, 100, 1000, 10_000, 100_000),
        below="queued jobs the round looked at",
    )


if __name__ == "__main__":
    main()
