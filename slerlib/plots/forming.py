"""Figures of the sphere while a training forms it: one look, a film of all looks, the course of every class.

fig = plots.forming_view(form, -1)        # form: from `slerlib.analysis.forming.forming`
plots.forming_film(form)                  # steps through all looks, in a page without scripts as well
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from . import style
from .style import canvas, class_looks, finished, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..analysis.forming import Forming

TRAIL = 6  # looks that the trail of a class goes back


@styled
def forming_view(form: Forming, look: int, title: str = "") -> Figure:
    """One look: rings are anchors, filled marks the middles of the classes, lines the way of the last looks.

    All looks have the same axes, in degrees: a distance stands for an angle. look: its number, negative from the end.
    """
    look %= len(form.steps)
    ax = canvas(None, 5.6)
    looks = class_looks(form.names, form.names)
    points = np.concatenate([form.means.reshape(-1, 2), form.anchors.reshape(-1, 2)])
    low, high = np.nanmin(points, axis=0), np.nanmax(points, axis=0)
    pad = 0.08 * max(high - low)
    ax.set(xlim=(low[0] - pad, high[0] + pad), ylim=(low[1] - pad, high[1] + pad), aspect="equal")
    for k, name in enumerate(form.names):
        own, mean, anchor = looks[name], form.means[look, k], form.anchors[look, k]
        trail = form.means[max(0, look - TRAIL) : look + 1, k]
        ax.plot(*trail.T, color=own["color"], lw=1.2, alpha=0.5)
        if np.isfinite(anchor).all():
            ax.plot(*anchor, **{**own, "markerfacecolor": "none", "markersize": 15, "markeredgewidth": 2})
            ax.plot(*np.stack([mean, anchor]).T, color=own["color"], lw=0.8, ls=":")
        ax.plot(*mean, **own, linestyle="", markersize=9, markeredgecolor="white", markeredgewidth=0.6)
        place = anchor if np.isfinite(anchor).all() else mean
        ax.annotate(name, place, (0, 11), textcoords="offset points", ha="center", weight="bold", fontsize=style.SMALL)
    ax.set(xticks=[], yticks=[], title=title or f"step {form.steps[look]}")
    ax.spines[:].set_visible(False)
    ax.plot([low[0] - pad / 2, low[0] - pad / 2 + 30], [low[1] - pad / 2] * 2, color=style.BLACK, lw=2)
    ax.text(low[0] - pad / 2 + 15, low[1] - pad / 2, "30°", ha="center", va="bottom", fontsize=style.SMALL)
    far = form.apart[look]
    words = "no anchors yet" if np.isnan(far).all() else ", ".join(
        f"{name} {value:.0f}° from its anchor" for name, value in zip(form.names, far, strict=True)
    )  # fmt: skip
    return finished(ax.figure, f"The classes on the sphere at step {form.steps[look]}: {words}.")


@dataclass(frozen=True)
class Film:
    """Pictures to step through: a page shows one at a time, by radio buttons and a style sheet, without a script.

    Where styles are left out, the last picture alone is shown.
    """

    pictures: tuple[bytes, ...]  # PNG
    titles: tuple[str, ...]
    texts: tuple[str, ...]  # of each picture, in words
    name: str = "film"

    def html(self) -> str:
        last, name = len(self.pictures) - 1, self.name
        parts = [
            f'<input type="radio" name="{name}" id="{name}-{k}" aria-label="{escape(title)}"{" checked" * (k == last)}>'
            for k, title in enumerate(self.titles)
        ]
        rules = [f"#{name}-{k}:checked ~ #{name}-{k}-shown" for k in range(last + 1)]
        for k, (picture, title, text) in enumerate(zip(self.pictures, self.titles, self.texts, strict=True)):
            data = base64.b64encode(picture).decode()
            back, on = (f'<label for="{name}-{j}">{word}</label>' if 0 <= j <= last else "<span></span>"
                        for j, word in ((k - 1, "◀ before"), (k + 1, "after ▶")))  # fmt: skip
            parts.append(
                f'<figure id="{name}-{k}-shown"{"" if k == last else " hidden"}>'
                f"<figcaption>{back}<span>{escape(title)}</span>{on}</figcaption>"
                f'<img class="chart" src="data:image/png;base64,{data}" alt="{escape(text)}"></figure>'
            )
        css = f".film figure {{ display: none; margin: 0.3rem 0; }} {', '.join(rules)} {{ display: block; }}"
        css += ".film figcaption { display: flex; justify-content: space-between; } .film label { cursor: pointer; "
        css += "padding: 0.1rem 0.8rem; border: 1px solid currentColor; border-radius: 4px; } .film img { width: 100%; "
        css += "max-width: 44rem; } @media print { .film input, .film label { display: none; } }"
        return f'<style>{css}</style><div class="film">{"".join(parts)}</div>'

    def _ipython_display_(self) -> None:
        from IPython.display import display

        display({"text/html": self.html(), "text/plain": self.texts[-1]}, raw=True)


def forming_film(form: Forming, stages: dict[str, range] | None = None) -> Film:
    """All looks of a training. stages: of `History`, for the titles."""
    pictures, titles, texts = [], [], []
    for look, step in enumerate(form.steps):
        stage = next((name for name, span in (stages or {}).items() if step in span), "")
        share = np.nanmean(form.nearest[look]) if np.isfinite(form.nearest[look]).any() else None
        title = f"step {step}" + (f", stage {stage}" if stage else "")
        title += "" if share is None else f": {share:.0%} nearest to their own anchor"
        fig = forming_view(form, look, " ")
        pictures.append(_small(fig))
        titles.append(title)
        texts.append(fig.alt_text)
    return Film(tuple(pictures), tuple(titles), tuple(texts), "sphere")


def _small(fig: Figure) -> bytes:
    """PNG in 64 colours, about 15 kB."""
    from PIL import Image

    file, small = io.BytesIO(), io.BytesIO()
    fig.savefig(file, format="png", dpi=110)
    Image.open(file).convert("RGB").quantize(64, dither=Image.Dither.NONE).save(small, "png", optimize=True)
    return small.getvalue()


@styled
def forming_chart(form: Forming) -> Figure:
    """Over the steps, for every class: degrees from its middle to its own anchor, and from its views to its middle."""
    import pandas as pd
    import seaborn
    from matplotlib.figure import Figure

    fig = Figure((style.WIDTH, 5.2), dpi=style.DPI, layout="constrained")
    (top, low), handles, names = fig.subplots(2, 1, sharex=True), [], []
    looks = class_looks(form.names, form.names)
    marks = {
        "palette": {n: looks[n]["color"] for n in form.names},
        "markers": {n: looks[n]["marker"] for n in form.names},
    }
    for ax, values, label in ((top, form.apart, "from the middle of the class\nto its anchor (degrees)"),
                              (low, form.within, "from a view to the middle\nof its class (degrees)")):  # fmt: skip
        table = pd.DataFrame(values, columns=form.names).assign(step=form.steps).melt("step", var_name="class")
        table = table.dropna()
        if len(table):
            seaborn.lineplot(table, x="step", y="value", hue="class", style="class", dashes=False, lw=1.3, mew=0, ax=ax,
                             **marks)  # fmt: skip
            handles, names = ax.get_legend_handles_labels()
            ax.get_legend().remove()
        else:
            ax.text(0.5, 0.5, "nothing was noted", ha="center", transform=ax.transAxes)
        ax.set(ylabel=label, ylim=(0, None), xlabel="step")
    if handles:
        fig.legend(handles, names, ncols=4, loc="outside lower center", fontsize=style.SMALL)
    ends = (
        f"{name} {a:.0f} to {b:.0f}" for name, a, b in zip(form.names, _first(form.apart), form.apart[-1], strict=True)
    )
    return finished(
        fig, f"Degrees from the middle of each class to its anchor, first and last look: {', '.join(ends)}."
    )


def _first(values: np.ndarray) -> np.ndarray:
    """(K) of the first look that has numbers."""
    return values[np.isfinite(values).any(axis=1).argmax()]
