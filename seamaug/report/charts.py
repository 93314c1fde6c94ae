"""Geometry of the page's line charts; the template draws them as SVG."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

WIDTH, HEIGHT = 420, 260
"""In the units of the drawing, which a phone shows at about one pixel each."""
LEFT, RIGHT, TOP, BOTTOM = 64, 12, 14, 46
"""Room for what stands beside the axes."""

Points = Sequence[tuple[float, float]]
Ticks = Sequence[tuple[float, str]]


@dataclass(frozen=True)
class Series:
    """A named line; `style` is its class in the style sheet."""

    name: str
    style: str
    points: Points
    filled: bool = False


@dataclass(frozen=True)
class Drawn:
    """A series in the units of the drawing."""

    name: str
    style: str
    line: str
    area: str


@dataclass(frozen=True)
class Chart:
    """A chart that the template can draw, with the sentence that says what it shows."""

    title: str
    x_label: str
    y_label: str
    x_ticks: Ticks
    y_ticks: Ticks
    series: list[Drawn]
    reading: str


def line_chart(
    title: str,
    labels: tuple[str, str],
    series: Sequence[Series],
    reading: str,
    *,
    x_ticks: Ticks | None = None,
    from_zero: bool = True,
) -> Chart:
    """A chart of these series on common axes.

    `labels`: of the x and the y axis, with units; `x_ticks`: values and their texts, where the axis
    is not a plain number; `from_zero`: whether the y axis begins there.
    """
    points = np.array([point for own in series for point in own.points], np.float64)
    x_low, x_high = _range(points[:, 0])
    low, high = _range(points[:, 1])
    if from_zero:
        low, high = min(low, 0.0), max(high, 0.0)
    else:
        low, high = low - 0.08 * (high - low), high + 0.08 * (high - low)
    across = _Scale(x_low, x_high, LEFT, WIDTH - RIGHT)
    up = _Scale(low, high, HEIGHT - BOTTOM, TOP)
    return Chart(
        title,
        *labels,
        [(across(value), text) for value, text in x_ticks or ticks(x_low, x_high)],
        [(up(value), text) for value, text in ticks(low, high)],
        [_drawn(own, across, up) for own in series],
        reading,
    )


def histogram_steps(values: np.ndarray, edges: np.ndarray) -> list[tuple[float, float]]:
    """The outline of a histogram: share of the values, in percent, over each bin."""
    counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), edges)
    shares = 100 * counts / max(len(values), 1)
    xs = np.repeat(edges, 2)
    ys = np.concatenate([[0], np.repeat(shares, 2), [0]])
    return [(float(x), float(y)) for x, y in zip(xs, ys, strict=True)]


def ticks(low: float, high: float, most: int = 6) -> list[tuple[float, str]]:
    """At most about `most` round values from `low` to `high`, with their texts."""
    rough = (high - low) / most
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(size * factor for factor in (1, 2, 5, 10) if size * factor >= rough)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    return [(n * step, f"{n * step:,.{digits}f}".replace("-", "−")) for n in range(first, last + 1)]


def _range(values: np.ndarray) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    return (low, high) if high > low else (low - 0.5, high + 0.5)


@dataclass(frozen=True)
class _Scale:
    low: float
    high: float
    start: float
    stop: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.stop - self.start), 1)


def _drawn(series: Series, across: _Scale, up: _Scale) -> Drawn:
    points = [(across(x), up(y)) for x, y in series.points]
    line = " ".join(f"{x},{y}" for x, y in points)
    floor = up(max(up.low, 0.0))
    area = f"{points[0][0]},{floor} {line} {points[-1][0]},{floor}" if series.filled else ""
    return Drawn(series.name, series.style, line, area)
