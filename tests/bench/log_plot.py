"""The frame of a picture: an SVG whose axes are both in powers of ten, with their lines and labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log10

_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 530, 20, 330


@dataclass(frozen=True)
class LogPlot:
    """`first` is what the left edge and the bottom stand for, `per_power` how many pixels a power of ten takes."""

    first: tuple[float, float]
    per_power: tuple[float, float]

    def across(self, value: float) -> float:
        """The x of a value, in pixels."""
        return _LEFT + log10(value / self.first[0]) * self.per_power[0]

    def down(self, milliseconds: float) -> float:
        """The y of a time, in pixels."""
        return _BOTTOM - log10(milliseconds / self.first[1]) * self.per_power[1]

    def svg(self, parts: Sequence[str], *, columns: Sequence[int], times: Sequence[int], below: str) -> str:
        """The whole picture: `parts` over a grid at these values and milliseconds."""
        grid = [
            '<svg xmlns="http://www.w3.org/2000/svg" width="560" height="400"'
            ' font-family="sans-serif" font-size="12">',
            '<rect width="560" height="400" fill="white"/>',
        ]
        for time in times:
            y = self.down(time)
            grid.append(f'<path d="M{_LEFT} {y:.0f}H{_RIGHT}" stroke="#ddd"/>')
            grid.append(f'<text x="62" y="{y + 4:.0f}" text-anchor="end">{time:,} ms</text>')
        for column in columns:
            x = self.across(column)
            grid.append(f'<path d="M{x:.0f} {_TOP}V{_BOTTOM}" stroke="#ddd"/>')
            grid.append(f'<text x="{x:.0f}" y="348" text-anchor="middle">{column:,}</text>')
        grid.append(f'<text x="300" y="372" text-anchor="middle">{below}</text>')
        return "\n".join([*grid, *parts, "</svg>", ""])
