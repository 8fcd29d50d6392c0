"""Plots for people and for who cannot see them: an SVG with title and description, and always its table. Pure.

No script, nothing loaded; what text they hold is escaped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

WIDTH: Final = 640
_LEFT, _TOP, _BAR, _GAP = 190, 16, 16, 12
SERIES: Final = ("before", "after")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """One figure: per row its name and one number per series; None is *not available*. ``share`` writes per cent."""

    id: str
    title: str
    reading: str
    series: tuple[str, ...]
    rows: tuple[tuple[str, tuple[float | None, ...]], ...]
    share: bool = False


def figure(plot: Plot) -> str:
    """The figure as HTML: picture, what it says, table."""
    return (
        f'<figure id="{escape(plot.id)}"><figcaption>{escape(plot.title)}</figcaption>{_svg(plot)}'
        f"<p>{escape(plot.reading)}</p>{_table(plot)}</figure>\n"
    )


def number(value: float | None, *, share: bool) -> str:
    """As people read it; a share that is not nothing never reads as nothing."""
    if value is None:
        return "not available"
    if share:
        return f"{value:.1%}" if value == 0 or value >= 0.0005 else f"{value:.1e}"
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.4g}"


def _svg(plot: Plot) -> str:
    step = len(plot.series) * _BAR + _GAP
    height = _TOP + len(plot.rows) * step + 8
    most = max((value for _, values in plot.rows for value in values if value is not None), default=0.0) or 1.0
    parts = [_bars(plot, name, values, top=_TOP + at * step, most=most) for at, (name, values) in enumerate(plot.rows)]
    title, text = f"{plot.id}-title", f"{plot.id}-text"
    return (
        f'<svg role="img" aria-labelledby="{escape(title)} {escape(text)}" viewBox="0 0 {WIDTH} {height}" '
        f'xmlns="http://www.w3.org/2000/svg"><title id="{escape(title)}">{escape(plot.title)}</title>'
        f'<desc id="{escape(text)}">{escape(plot.reading)} The numbers stand in the table below.</desc>'
        f"{''.join(parts)}</svg>"
    )


def _bars(plot: Plot, name: str, values: Sequence[float | None], *, top: int, most: float) -> str:
    middle = top + len(values) * _BAR / 2 + 4
    drawn = [f'<text x="{_LEFT - 8}" y="{middle:.0f}" text-anchor="end">{escape(name)}</text>']
    for at, value in enumerate(values):
        wide = 0.0 if value is None else (WIDTH - _LEFT - 90) * value / most
        y = top + at * _BAR
        drawn.append(f'<rect class="s{at}" x="{_LEFT}" y="{y}" width="{wide:.1f}" height="{_BAR - 2}"/>')
        told = escape(number(value, share=plot.share))
        drawn.append(f'<text x="{_LEFT + wide + 6:.1f}" y="{y + _BAR - 5}">{told}</text>')
    return "".join(drawn)


def _table(plot: Plot) -> str:
    heads = "".join(f'<th scope="col">{escape(name)}</th>' for name in plot.series)
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th>'
        + "".join(f"<td>{escape(number(value, share=plot.share))}</td>" for value in values)
        + "</tr>"
        for name, values in plot.rows
    )
    return (
        f"<table><caption>{escape(plot.title)}, in numbers</caption>"
        f"<thead><tr><td></td>{heads}</tr></thead><tbody>{rows}</tbody></table>"
    )
