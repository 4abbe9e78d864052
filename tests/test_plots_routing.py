"""Figures of routing draw what they are given, say it in words, keep their text inside, and refuse the empty."""

import importlib
import io

import matplotlib
import numpy as np
import pandas as pd
import pytest
import torch
from figures import check_texts, intervals, marks
from matplotlib.figure import Figure

from slerlib import UserError, plots
from slerlib.analysis import routing
from slerlib.config import CLASSES, STAGE_NAMES
from slerlib.evaluation.table import usual_paths
from slerlib.plots import style
from slerlib.plots.causal import _short

NAMES = ("rain", "lowlight")
LABELS = ["rain", "lowlight"] * 6
PATH = np.array([[0, 1, 2, 0, 1, 2, 0, 1], [2, 2, 2, 2, 2, 2, 0, 0]] * 5 + [[1] * 8, [2] * 8])
PLACES = [(n, k, e) for n in range(8) for k in NAMES for e in range(3)]
LOST = [round(0.7 * (n - e), 2) for n, _, e in PLACES]
SPAN = {"lost_low": -1.0, "lost_high": 2.0}


def knocked():
    table = pd.DataFrame(PLACES, columns=["layer", "degradation", "expert"]).assign(lost=LOST, n=6)
    return table.assign(stage=[STAGE_NAMES[n] for n in table.layer], chosen=(table.expert != 1).astype(float),
                        p_corrected=np.where(table.expert != 1, 0.01, np.nan), photographs=9)  # fmt: skip


def swapped():
    rows = [(a, b, 0.0 if a == b else 13.25) for a in NAMES for b in NAMES]
    return pd.DataFrame(rows, columns=["degradation", "path_of", "lost"]).assign(**SPAN, n=6)


def walk():
    steps = [(0.0, "00000000", ""), (0.5, "00000000", ""), (1.0, "01000000", "enc2")]
    table = pd.DataFrame([(*step, "rain") for step in steps], columns=["t", "path", "switched", "degradation"])
    return table.assign(psnr=[28.0, 28.0, 25.5], psnr_low=24.0, psnr_high=29.0, lost=[0.0, 0.0, 2.5], **SPAN)


def rules():
    lost = {"modal": 0.1, "oracle": -0.4, "one path": 6.0}
    table = pd.DataFrame({"rule": lost.keys(), "lost": lost.values(), "degradation": "all", "differ": 3, "n": 12})
    return table.assign(lost_low=table.lost - 0.2, lost_high=table.lost + 0.2)


def severities():
    table = pd.DataFrame({"degradation": ["rain", "rain", "noise"], "severity": [0.1, 1.0, 0.5]})
    return table.assign(own=[0.2, 0.9, 1.0], clean=[0.8, 0.3, 0.1], **{f"{k}_{e}": 0.5 for k in ("own", "clean")
                                                                         for e in ("low", "high")})  # fmt: skip


MAPS = {"rain": (torch.rand(3, 16, 16), torch.ones(16, 16) > 0, torch.rand(4, 4), None)}
FIGURES = {
    "usage_maps": lambda **k: plots.usage_maps(routing.routing_table(PATH, LABELS, draws=20), **k),
    "nmi_chart": lambda **k: plots.nmi_chart(routing.layer_table(PATH, LABELS, draws=20), **k),
    "path_flow": lambda **k: plots.path_flow(PATH, LABELS, **k),
    "hamming_matrix": lambda **k: plots.hamming_matrix(np.array([[1.0, 7.5], [7.5, np.nan]]), NAMES, **k),
    "knockout_matrix": lambda **k: plots.knockout_matrix(knocked(), **k),
    "swap_matrix": lambda **k: plots.swap_matrix(swapped(), **k),
    "rules_chart": lambda **k: plots.rules_chart(rules(), **k),
    "severity_chart": lambda **k: plots.severity_chart(severities()),
    "walk_chart": lambda **k: plots.walk_chart(walk(), "rain", "blur"),
    "arc_chart": lambda **k: plots.arc_chart(walk(), "rain", "blur", 0.5, **k),
    "guide_maps": lambda **k: plots.guide_maps(MAPS),
}
ONE_PANEL = [name for name in FIGURES if name not in ("severity_chart", "walk_chart", "guide_maps")]
WORDS = {
    "usage_maps": ["rain 01201201", "lowlight 22222200", "dead: enc2 0, enc3 0, dec3 0, dec2 0"],
    "nmi_chart": ["enc1", "ceiling 1.00", "shuffled labels"],
    "path_flow": ["rain 01201201 by 5 of 6 images, 2 paths", "lowlight"],
    "hamming_matrix": ["rain 1.0, lowlight a single image", "Between degradations 7.5", "random routes 5.3"],
    "knockout_matrix": ["4.9 dB for rain without expert 0 of refine", "32 of 32 cells"],
    "swap_matrix": ["rain loses most along lowlight (13.2 dB)"],
    "rules_chart": ["oracle −0.40 (−0.60 to −0.20), 3 of 12 routes differ"],
    "severity_chart": ["rain 20% at severity 0.1 and 90% at 1"],
    "walk_chart": ["enc2 at 1.00", "rain from 28.0 to 25.5 dB"],
    "arc_chart": ["from rain to blur: enc2 at 1.00", "At 0.50 the path is 00000000"],
    "guide_maps": ["rain"],
}


def words(fig) -> list[str]:
    return [t.get_text() for t in fig.findobj(matplotlib.text.Text) if t.get_text() and t.get_visible()]


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_says_what_it_draws_and_keeps_its_text_inside_and_readable(name):
    fig = FIGURES[name]()
    assert isinstance(fig, Figure) and all(part in fig.alt_text for part in WORDS[name]), fig.alt_text
    fig.savefig(io.StringIO(), format="svg")
    fig.savefig(io.BytesIO())  # last: extents are those of the last drawing
    check_texts(fig)


@pytest.mark.parametrize("name", ONE_PANEL)
def test_a_figure_of_ones_own_is_drawn_into(name):
    fig = Figure((8, 12))
    upper, lower = fig.subplots(2)
    assert FIGURES[name](ax=upper) is fig
    assert upper.has_data() and not lower.has_data()


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.0, "1.0"), (0.4, ".4"), (-0.26, "−.3"), (0.04, "0"), (-0.04, "0"), (-1.0, "−1"), (10.3, "10"), (9.97, "10"),
     (np.nan, "·")],
)  # fmt: skip
def test_narrow_cells_keep_the_number(value, text):
    assert _short(value) == text


def test_cells_carry_their_numbers():
    assert {"83", "17", "50"} <= set(words(FIGURES["usage_maps"]()))  # 5 of 6, 1 of 6, 3 of 6
    assert {"4.9", "−1", "·"} <= set(words(FIGURES["knockout_matrix"]()))
    assert "13.2" in words(FIGURES["swap_matrix"]())
    assert "−0.40 (−0.60 to −0.20)" in words(FIGURES["rules_chart"]())


@pytest.mark.parametrize(
    ("photographs", "expected"),
    [
        (9, "no single cell is shown: 9 photographs give p ≥ 0.004; corrected, it takes 3 of 32 cells at this p"),
        (5, "no verdict on cells: 5 photographs cannot reach a corrected p below 0.05"),
        (20, "no single cell is shown: 20 photographs give p ≥ 2e-06; corrected, it takes one cell at this p"),
    ],
)
def test_cells_that_a_sample_cannot_judge_get_no_verdict(photographs, expected):
    fig = plots.knockout_matrix(knocked().assign(p_corrected=0.2, photographs=photographs))
    assert expected in fig.alt_text and expected in " ".join(fig.axes[-1].get_xlabel().split())


def test_a_path_of_few_images_stands_for_nobody():
    """Four images, four paths: none is usual, in the figure, the flow, the table and the matrix alike."""
    paths = ["01200000", "12000000", "20100000", "00000000"]
    labels = ["haze"] * 4 + ["rain"] * 3
    paths += ["11111111", "11111111", "22222222"]
    chart = plots.path_chart(paths, labels)
    assert "haze 00000000 (1 of 4 images, no usual path); rain 11111111 (2 of 3 images)" in chart.alt_text
    assert "1 of 4\nno usual path" in words(chart) and "2 of 3" in words(chart)
    flow = plots.path_flow(paths, labels)
    assert "haze no path of 4 images, 4 paths; rain 11111111 by 2 of 3 images" in flow.alt_text
    table = pd.DataFrame({"task": labels, "path": paths})
    assert usual_paths(table) == {"rain": "11111111"}
    half = swapped()[lambda rows: rows.path_of == "rain"]
    half.attrs["without"] = ["lowlight"]
    fig = plots.swap_matrix(half)
    assert "no path that more than half of its images take: lowlight" in fig.axes[0].get_xlabel()


def test_without_intervals_nothing_is_shown_to_differ_from_0():
    """Of too few photographs the bounds are NaN: the points stay, no rule is called better, and nothing says nan."""
    bare = rules().assign(lost_low=np.nan, lost_high=np.nan)
    fig = plots.rules_chart(bare)
    assert {"−0.40", "+6.00"} <= set(words(fig)) and "nan" not in fig.alt_text
    assert "dB lost" in words(fig) and "dB lost (95 %)" in words(plots.rules_chart(rules()))
    assert marks(fig.axes[0]) == {(x, style.BLUE, "full") for x in (0.1, -0.4, 6.0)}
    assert len(fig.axes[0].get_xticks()) > 3
    fixed = pd.concat([severities(), severities()[:1].assign(degradation="clean", severity=np.nan)])
    assert plots.severity_chart(fixed).alt_text == plots.severity_chart(severities()).alt_text
    few = routing.layer_table(PATH[:4], LABELS[:4], scenes=[0, 0, 1, 1], draws=20)
    assert plots.nmi_chart(few).axes[0].get_xlabel() == "layer", "no bars, no words about them"
    spans = severities().assign(**{f"{key}_{end}": np.nan for key in ("own", "clean") for end in ("low", "high")})
    walked = walk().assign(psnr_low=np.nan, psnr_high=np.nan, lost_low=np.nan, lost_high=np.nan)
    for fig in (plots.nmi_chart(few), plots.severity_chart(spans), plots.walk_chart(walked, "rain", "blur")):
        fig.savefig(io.BytesIO())
        assert "nan" not in fig.alt_text and not any("nan" in text for text in words(fig))


def test_an_expert_without_images_is_called_dead():
    fig = plots.usage_maps(routing.routing_table(np.zeros((4, 8), int), ["rain"] * 4, experts=2, draws=5))
    assert "dead: enc1 1" in fig.alt_text


def test_many_names_and_dead_experts_stay_inside_the_figure():
    usage = plots.usage_maps(routing.routing_table(np.zeros((4, 8), int), ["rain"] * 4, experts=4, draws=5))
    assert "dead: enc1 1 2 3, enc2 1 2 3" in usage.alt_text and "refine 1 2 3." in usage.alt_text
    table = pd.concat([walk().assign(degradation=name) for name in CLASSES])
    names = [f"lowlight+haze+{name}" for name in CLASSES]
    swap = pd.concat([swapped()[:1].assign(degradation=a, path_of=b) for a in names for b in names])
    matrices = [plots.hamming_matrix(np.ones((8, 8)), names), plots.swap_matrix(swap)]
    for fig in (usage, plots.walk_chart(table, "rain", "blur"), *matrices):
        fig.savefig(io.BytesIO())
        check_texts(fig)
    for fig in matrices:
        turns = {label.get_rotation() for label in fig.axes[0].get_xticklabels()}
        assert turns == {40}, "level they would be printed over each other"


def test_the_bands_of_the_flow_hold_every_image():
    from matplotlib.patches import PathPatch

    fig = FIGURES["path_flow"]()
    height = {}
    for band in fig.findobj(PathPatch):
        points = band.get_path().vertices
        if len(points) == 9:
            start = round(points[0, 0], 2)
            height[start] = height.get(start, 0) + points[7, 1] - points[8, 1]
    assert len(height) == 8 and all(total == pytest.approx(12) for total in height.values())


def test_the_flow_of_many_degradations_and_experts_stays_in_the_picture():
    names = (*CLASSES, "snow", "jpeg", "rain+blur")
    ax = plots.path_flow(np.tile(np.arange(11) % 6, (8, 1)).T, names).axes[0]
    low, high = sorted(ax.get_ylim())
    bars = [patch for patch in ax.patches if hasattr(patch, "get_height")]
    assert len(bars) == 11 + 8 * 6
    assert all(low <= bar.get_y() and bar.get_y() + bar.get_height() <= high for bar in bars)


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: plots.usage_maps(pd.DataFrame()), "needs a table with rows"),
        (lambda: plots.path_flow([], []), "got 0 and 0"),
        (lambda: plots.hamming_matrix(np.zeros((2, 3)), NAMES), "square"),
        (lambda: plots.knockout_matrix(pd.DataFrame()), "needs a table with rows"),
        (lambda: plots.swap_matrix(pd.DataFrame()), "needs a table with rows"),
        (lambda: plots.rules_chart(rules(), "haze"), "no images of 'haze'"),
        (lambda: plots.rules_chart(rules().assign(n=0)), "no images of 'all'; it has none"),
        (lambda: plots.severity_chart(severities()[:0]), "needs a table with severities"),
        (lambda: plots.walk_chart(pd.DataFrame(), "rain", "blur"), "needs a table with rows"),
        (lambda: plots.arc_chart(pd.DataFrame(), "rain", "blur"), "needs a table with rows"),
        (lambda: plots.guide_maps({}), "at least one image"),
    ],
)
def test_what_cannot_be_drawn_is_refused_with_the_reason(draw, message):
    with pytest.raises(UserError, match=message):
        draw()


# --- drawn by seaborn -------------------------------------------------------------------------------------------------


def difference_rows():
    one = {"dataset": "demo", "task": "rain", "delta": 0.3, "low": 0.1, "high": 0.5, "n": 6}
    rows = pd.DataFrame({"dataset": "demo", "task": "rain", "delta": [0.2, 0.4, 0.3, 0.3, 0.2, 0.4]})
    return plots.delta_chart(rows, pd.DataFrame([one, one | {"task": "haze", "low": -0.1}]))


@pytest.mark.parametrize(
    ("function", "draw"),
    [("seaborn.heatmap", FIGURES[name]) for name in ("usage_maps", "hamming_matrix", "knockout_matrix", "swap_matrix")]
    + [("seaborn.objects.Plot.plot", FIGURES[name]) for name in ("nmi_chart", "rules_chart", "severity_chart")]
    + [("seaborn.objects.Plot.plot", difference_rows), ("seaborn.scatterplot", difference_rows)]
    + [("seaborn.lineplot", FIGURES["walk_chart"])],
)
def test_seaborn_draws_into_the_axes_of_the_figure(function, draw, monkeypatch):
    room, name = function.rsplit(".", 1)
    owner = importlib.import_module("seaborn") if room == "seaborn" else importlib.import_module("seaborn.objects").Plot
    calls, real = [], getattr(owner, name)
    monkeypatch.setattr(owner, name, lambda *args, **kwargs: calls.append(name) or real(*args, **kwargs))
    fig = draw()
    assert calls and all(ax.has_data() for ax in fig.axes)


def test_a_rule_is_better_where_its_interval_lies_below_0():
    ax = plots.rules_chart(rules()).axes[0]
    assert marks(ax) == {(0.1, style.BLUE, "full"), (-0.4, style.VERMILLION, "full"), (6.0, style.BLUE, "full")}
    assert sorted(intervals(ax)) == [(-0.6, -0.2), (-0.1, 0.3), (5.8, 6.2)]
    assert marks(difference_rows().axes[0]) >= {(0.3, style.BLUE, "full"), (0.3, style.BLACK, "full")}


def test_axes_that_are_not_linear_say_so():
    assert "logarithmic" in FIGURES["rules_chart"]().axes[0].get_xlabel()
    log = pd.DataFrame({"step": range(9), "stage": "A", "loss": 2.0})
    assert "logarithmic" in plots.training_curves(log).axes[0].get_ylabel()
