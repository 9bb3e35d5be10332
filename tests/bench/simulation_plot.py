"""The picture of a simulation's scheduling rounds: `simulation.svg` from `simulation_passes.csv`.

    python -m tests.bench.simulation_plot

A point for each round: its milliseconds against the candidates that it looked at, both axes in powers of ten. The
line is what a time that grows as the candidates do would look like, through the median of the smallest rounds.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from math import log10
from pathlib import Path
from statistics import median

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

    def across(count: float) -> float:
        return 70 + log10(count) * 165

    def down(milliseconds: float) -> float:
        return 330 - (log10(milliseconds) - 1) * 75

    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" width="560" height="400"'
        ' font-family="sans-serif" font-size="12">',
        '<rect width="560" height="400" fill="white"/>',
    ]
    for power in range(1, 6):
        y = down(10.0**power)
        parts.append(f'<path d="M70 {y:.0f}H530" stroke="#ddd"/>')
        parts.append(f'<text x="62" y="{y + 4:.0f}" text-anchor="end">{10**power:,} ms</text>')
    for count in (1.0, 10.0, 100.0):
        x = across(count)
        parts.append(f'<path d="M{x:.0f} 20V330" stroke="#ddd"/>')
        parts.append(f'<text x="{x:.0f}" y="348" text-anchor="middle">{count:g}</text>')
    parts.append('<text x="300" y="372" text-anchor="middle">queued jobs that the round looked at</text>')
    for count, milliseconds in rounds:
        parts.append(f'<circle cx="{across(count):.1f}" cy="{down(milliseconds):.1f}" r="1.5" fill="#06c"/>')
    small = [milliseconds for count, milliseconds in rounds if count <= _SMALL]
    if small:
        at = median(count for count, _ in rounds if count <= _SMALL)
        ends = [(at, median(small)), (500.0, median(small) * 500 / at)]
        line = " ".join(f"{across(count):.1f},{down(milliseconds):.1f}" for count, milliseconds in ends)
        parts.append(f'<polyline points="{line}" fill="none" stroke="#c30" stroke-dasharray="5 4"/>')
    return "\n".join([*parts, "</svg>", ""])


if __name__ == "__main__":
    main()
