"""Figures draw what they are given, say it in words, keep their text inside, and load matplotlib only when asked."""

import base64
import io
import re
import subprocess
import sys
import threading
from html import escape
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
import torch
from figures import check_texts, intervals, marks
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from PIL import Image
from skimage.color import deltaE_ciede2000, rgb2lab

from slerlib import UserError, degrade, plots, psnr, sphere
from slerlib.config import CLASSES, STAGE_NAMES
from slerlib.data.scenes import photographs
from slerlib.plots import causal, routing, style

ROOT = Path(__file__).resolve().parent.parent
PATHS, TASKS = ["01201120", "01201122", "01201120", "22222222"], ["rain", "rain", "rain", "snow"]


def table():
    rows = [("rain", 24.0, 28.0), ("rain", 26.0, 29.0), ("haze", 15.0, 12.0), ("haze", 17.0, 12.5)]
    rows += [("clean", np.inf, 41.0), ("clean", np.inf, 43.0)]
    return pd.DataFrame(rows * 3, columns=["task", "psnr_input", "psnr"])  # six images of each: enough for an interval


def parts():
    """Two degradations in two shapes on six photographs; rain comes back 2 dB worse than all over, haze as well."""
    rows = []
    for n, shape in ((n, shape) for n in range(6) for shape in ("half", "gradient")):
        rows.append((f"rain@{shape}", f"{n}", 20 + n, 28 + n, 30 + n, 40.0 if shape == "half" else np.nan))
        rows.append((f"haze@{shape}", f"{n}", 12 + n, 19 + n, 19 + n - 0.1 * (n % 2), 44.0))
    names = ["task", "image", "psnr_damaged_input", "psnr_damaged", "psnr_all_over", "psnr_untouched"]
    return pd.DataFrame(rows, columns=names).assign(places_damaged=0.5, places_clean=np.nan)


def picture(seed=0, height=40, width=60):
    clean = torch.rand(3, height, width, generator=torch.Generator().manual_seed(seed))
    return clean, (clean + 0.1).clamp(0, 1), (clean + 0.05).clamp(0, 1)


def sphere_arguments():
    anchors = sphere.simplex(8, 64)
    points = sphere.normalise(anchors[[3, 3, 7]] + 0.01 * torch.ones(64))
    return points, ["rain", "rain", "snow"], anchors, CLASSES


ANGLES = torch.tensor([[99.0, 98, 97, 12, 80, 60, 95, 70], [99, 98, 97, 14, 80, 60, 95, 70]])
FIGURES = {
    "picture_grid": lambda **k: plots.picture_grid([("rain", *picture()), ("a long name", *picture(1))]),
    "degradation_grid": lambda **k: plots.degradation_grid([("snow", picture()[0]), ("haze + rain", picture(1)[0])]),
    "mask_grid": lambda **k: plots.mask_grid(picture()[0]),
    "picture_row": lambda **k: plots.picture_row([("rain", picture()[0]), ("a map", picture()[1][0] - 1)]),
    "path_chart": lambda **k: plots.path_chart(PATHS, TASKS, **k),
    "gain_chart": lambda **k: plots.gain_chart(table(), **k),
    "part_chart": lambda **k: plots.part_chart(parts(), **k),
    "sphere_view": lambda **k: plots.sphere_view(*sphere_arguments(), **k),
    "angle_bars": lambda **k: plots.angle_bars(ANGLES[0], CLASSES, **k),
    "angle_table": lambda **k: plots.angle_table(ANGLES, ["rain", "rain"], CLASSES, **k),
}
PICTURES = ("picture_grid", "picture_row", "degradation_grid", "mask_grid")
ONE_PANEL = [name for name in FIGURES if name not in PICTURES]


def words(fig) -> list[str]:
    """Every text of a figure that shows."""
    return [t.get_text() for t in fig.findobj(matplotlib.text.Text) if t.get_text() and t.get_visible()]


# --- all figures ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_describes_itself_and_shows_that_in_jupyter(name, monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda data, metadata, raw: shown.append((data, metadata, raw)))
    fig = FIGURES[name]()
    assert isinstance(fig, Figure) and len(fig.alt_text) > 40 and "rain" in fig.alt_text
    fig._ipython_display_()
    ((data, metadata, raw),) = shown
    kind = "image/jpeg" if name in PICTURES else "image/png"
    assert raw and metadata[kind] == {"alt": fig.alt_text, "width": 750} and data["text/plain"] == fig.alt_text
    assert Image.open(io.BytesIO(data[kind])).width == 1200


@pytest.mark.parametrize("name", [min(PICTURES), min(set(FIGURES) - set(PICTURES))])
def test_a_person_gets_a_figure_that_follows_a_dark_theme(name, monkeypatch):
    shown = []
    monkeypatch.setattr(style, "attended", lambda: True)
    monkeypatch.setattr("IPython.display.display", lambda data, raw: shown.append(data))
    fig = FIGURES[name]()
    fig.savefig(io.BytesIO())  # the first drawing makes the labels of axes
    before = [(text, text.get_color()) for text in fig.findobj(matplotlib.text.Text)]
    fig._ipython_display_()
    html, photographs = shown[0]["text/html"], name in PICTURES
    assert f'class="slerlib-{"jpeg" if photographs else "png"}"' in html and escape(fig.alt_text) in html
    assert '[data-jp-theme-light="false"] img.slerlib-png { filter: invert' in html
    image = Image.open(io.BytesIO(base64.b64decode(re.search(r"base64,([^\"]+)", html)[1])))
    corner = image.convert("RGBA").getpixel((0, 0))
    assert (corner[3] == 0) if photographs else corner == (255, 255, 255, 255)  # no paper, or paper that is turned
    assert all(text.get_color() == colour for text, colour in before)


@pytest.mark.parametrize("name", FIGURES)
def test_text_lies_inside_the_figure_and_is_readable_at_600_pixels(name):
    fig = FIGURES[name]()
    fig.savefig(io.BytesIO())
    check_texts(fig)


@pytest.mark.parametrize("name", ONE_PANEL)
def test_a_figure_of_ones_own_is_drawn_into(name):
    fig = Figure((8, 12))
    upper, lower = fig.subplots(2)
    assert FIGURES[name](ax=upper) is fig
    assert upper.has_data() and not lower.has_data() and fig.alt_text


def test_neither_the_persons_style_nor_pyplot_is_touched():
    import matplotlib.pyplot as plt

    with matplotlib.rc_context({"font.size": 30, "axes.spines.top": True}):
        fig = FIGURES["gain_chart"]()
        assert matplotlib.rcParams["font.size"] == 30
        assert max(t.get_fontsize() for t in fig.findobj(matplotlib.text.Text) if t.get_text()) < 12
    assert not plt.get_fignums()


def test_two_threads_that_draw_at_once_leave_the_settings_of_a_person_alone():
    """JupyterLab runs the callbacks of widgets in a thread of their own, next to the cells."""
    first_in, second_in, first_out = (threading.Event() for _ in range(3))
    before = dict(matplotlib.rcParams)

    @style.styled
    def first():
        first_in.set()
        second_in.wait(0.2)

    @style.styled
    def second():
        second_in.set()
        first_out.wait(0.2)

    def later():
        first_in.wait(5)
        second()

    thread = threading.Thread(target=later)
    thread.start()
    first()
    first_out.set()
    thread.join()
    assert dict(matplotlib.rcParams) == before


def test_matplotlib_and_pandas_load_with_the_first_figure_only():
    code = "import sys, slerlib.plots; print([m for m in ('matplotlib', 'pandas', 'seaborn') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: plots.path_chart([], []), "at least one path"),
        (lambda: plots.path_chart(PATHS, ["rain"]), "got 4 and 1"),
        (lambda: plots.path_chart(["0120"], ["rain"]), "8 experts"),
        (lambda: plots.part_chart(table()), "setting='local'; the table lacks psnr_damaged_input"),
        (lambda: plots.part_chart(parts()[:0]), "needs a table with rows"),
        (lambda: plots.picture_grid([]), "at least one picture"),
        (lambda: plots.picture_row([]), "at least one; got none"),
        (lambda: plots.picture_row([("batch", picture()[0][None])]), r"'batch' is \(1, 3, 40, 60\)"),
        (lambda: plots.angle_bars(ANGLES[0], CLASSES[:3]), "got 8 and 3"),
    ],
)
def test_what_cannot_be_drawn_is_refused_with_the_reason(draw, message):
    with pytest.raises(UserError, match=message):
        draw()


# --- one by one -------------------------------------------------------------------------------------------------------


def test_pictures_are_shown_from_above_their_centre_with_the_psnr_of_the_whole():
    clean, degraded, restored = picture(height=40, width=60)
    fig = plots.picture_grid([("rain", clean, degraded, restored)], side=32)
    shown = [ax.images[0].get_array() for ax in fig.axes]
    for image, expected in zip(shown, (clean, degraded, restored), strict=True):
        assert np.array_equal(image, expected[:, 2:34, 14:46].permute(1, 2, 0).numpy())
    before, after = psnr(degraded, clean), psnr(restored, clean)
    assert [ax.get_xlabel() for ax in fig.axes] == [
        "", f"input {before:.1f} dB", f"restored {after:.1f} dB (+{after - before:.1f})"
    ]  # fmt: skip
    assert [ax.get_title() for ax in fig.axes] == ["clean", "degraded", "restored"]
    assert fig.axes[0].get_ylabel() == "rain"
    assert f"rain: input {before:.1f} dB, restored {after:.1f} dB" in fig.alt_text


def test_a_picture_before_restoring_and_a_clean_one():
    clean, degraded, _ = picture()
    fig = plots.picture_grid([("rain", clean, degraded), ("clean", clean, clean)])
    assert len(fig.axes) == 4 and fig.axes[3].get_xlabel() == "input identical"


def test_a_row_shows_pictures_as_they_are_and_maps_with_their_range():
    clean, _, _ = picture()
    fig = plots.picture_row([("clean", clean), ("depth", torch.tensor([[2.0, 4.5], [3.0, 2.5]]))])
    assert np.array_equal(fig.axes[0].images[0].get_array(), clean.permute(1, 2, 0).numpy())
    assert [ax.get_xlabel() for ax in fig.axes] == ["", "2 to 4.5"]
    assert fig.alt_text == "Side by side: clean; depth (a map, 2 to 4.5)."


def test_a_path_shows_the_most_frequent_expert_and_who_agrees():
    fig = plots.path_chart(PATHS, TASKS)
    (ax,) = fig.axes
    digits = {
        (round(t.get_position()[0]), t.get_position()[1] > 0.5): t.get_text()
        for t in ax.texts
        if len(t.get_text()) == 1
    }
    assert "".join(digits[layer, False] for layer in range(8)) == "01201120"
    assert "".join(digits[layer, True] for layer in range(8)) == "22222222"
    assert [t for t in words(fig) if t.endswith("%")] == ["67%"]  # the last layer of rain: 2 of 3
    assert "2 of 3" in words(fig) and "1 of 1" in words(fig)
    assert [t.get_text() for t in ax.get_xticklabels()] == list(STAGE_NAMES)
    assert [t.get_text() for t in ax.get_yticklabels()] == ["rain", "snow"]
    rain = [to_hex(patch.get_facecolor()) for patch in ax.patches[:8]]
    assert rain[0] == rain[3] and len({rain[0], rain[1], rain[2]}) == 3
    assert rain[7] != rain[0]  # the same expert, but not all agree: paler
    assert "rain 01201120 (2 of 3 images)" in fig.alt_text and "snow 22222222" in fig.alt_text


def test_paths_may_be_a_tensor_and_single_images_need_no_shares():
    fig = plots.path_chart(torch.tensor([[0, 1, 2, 0, 1, 1, 2, 0]]), ["rain"])
    assert "same path" not in words(fig) and "rain 01201120." in fig.alt_text


def test_the_caption_of_a_path_is_whole_beside_long_names():
    fig = plots.path_chart(["01201120", "22222222"], ["own path", "without its expert at latent: −12.1 dB"])
    style.encoded(fig)  # draws it
    check_texts(fig)


def test_gain_chart_places_means_and_names_what_got_worse():
    fig = plots.gain_chart(table())
    (ax,) = fig.axes
    grey, blue, red = ((colour, kind) for colour, kind in (
        (style.GREY, "hollow"), (style.BLUE, "full"), (style.VERMILLION, "full")))  # fmt: skip
    assert marks(ax) == {(25.0, *grey), (28.5, *blue), (16.0, *grey), (12.25, *red), (42.0, *blue)}
    assert len(intervals(ax)) == 5 and all(low <= high for low, high in intervals(ax))
    assert "+3.5 (+3.2 to +3.8)" in words(fig) and "−3.8 (−4.2 to −3.2)" in words(fig) and "input = clean" in words(fig)
    legend = [t.get_text() for t in ax.get_legend().get_texts()]
    assert legend == ["input", "restored", "restored, worse than the input"]
    assert "haze 16.0 dB before, 12.2 dB after, n = 6" in fig.alt_text


def test_worse_is_a_verdict_of_the_interval_alone():
    """Six images whose gains scatter around a mean just below 0 show nothing."""
    rows = pd.DataFrame({"task": "rain", "psnr_input": 20.0, "psnr": [19.0, 19.5, 21.0, 18.5, 20.0, 21.5]})
    fig = plots.gain_chart(rows)
    assert marks(fig.axes[0]) == {(20.0, style.GREY, "hollow"), (19.917, style.BLUE, "full")}
    assert "−0.1 (" in "".join(words(fig)) and "worse" not in "".join(words(fig))


def test_a_few_images_have_no_interval():
    for few, gain in ((table().iloc[:1], "+4.0"), (table()[lambda t: t.task == "rain"].iloc[:4], "+3.5")):
        fig = plots.gain_chart(few)
        assert gain in words(fig) and not any(" to " in text or "nan" in text for text in words(fig))
        assert not any("95" in text for text in words(fig)), "no word of an interval that is not there"
    none = pd.DataFrame({"task": "blur", "psnr_input": 20.0, "psnr": [20.0, 19.99]})
    assert "+0.0" in words(plots.gain_chart(none)), "not a minus before 0"


def test_part_chart_compares_with_damage_all_over():
    fig = plots.part_chart(parts())
    assert "rain: input 22.5 dB, restored: all over 32.5 dB, restored: in a part 30.5 dB, n = 6" in fig.alt_text
    assert {"−2.0 (−2.0 to −2.0)", "rain", "haze"} <= set(words(fig))
    assert len(intervals(fig.axes[0])) == 6


def test_three_anchors_keep_their_angles_in_the_plane():
    anchors = sphere.simplex(3, 5).float()
    fig = plots.sphere_view(anchors, ["a", "b", "c"], anchors, ("a", "b", "c"))
    (ax,) = fig.axes
    rings = np.array([line.get_xydata()[0] for line in ax.lines if line.get_markersize() == 16])
    assert np.allclose(rings @ rings.T, anchors @ anchors.T, atol=1e-5)
    images = np.array(
        [line.get_xydata()[0] for line in ax.lines if line.get_markersize() == 7 and len(line.get_xdata())]
    )
    assert np.allclose(images, rings, atol=1e-6)
    assert "100% of the anchors' variance" in ax.get_xlabel()
    assert "1 of a nearest to a" in fig.alt_text


def test_the_plane_of_eight_anchors_says_how_little_it_keeps():
    fig = plots.sphere_view(*sphere_arguments())
    (ax,) = fig.axes
    assert "29% of the anchors' variance" in ax.get_xlabel()  # 2 of the 7 dimensions of a simplex
    assert set(CLASSES) <= set(words(fig)) and {"no anchor", "snow"} <= set(words(fig))
    assert "2 of rain nearest to rain" in fig.alt_text and "1 of snow nearest to clean" in fig.alt_text


def test_labels_around_the_sphere_keep_apart():
    close = np.array([[1, 0.01], [1, 0], [1, -0.01], [-1, 0.001], [-1, -0.001]])
    turns = np.sort(plots.angles._directions(close))
    assert np.diff(turns, append=turns[0] + 2 * np.pi).min() > 0.31


def test_angles_of_one_image():
    fig = plots.angle_bars(ANGLES[0], CLASSES)
    (ax,) = fig.axes
    assert [bar.get_width() for bar in ax.patches] == ANGLES[0].tolist()
    assert len({to_hex(bar.get_facecolor()) for bar in ax.patches}) == 2
    assert "12° nearest" in words(fig) and "99°" in words(fig)
    assert "nearest is rain" in fig.alt_text


def test_mean_angles_of_each_degradation():
    fig = plots.angle_table(ANGLES, ["rain", "rain"], CLASSES)
    (ax,) = fig.axes
    assert [t.get_text() for t in ax.texts] == ["99", "98", "97", "13", "80", "60", "95", "70"]
    (frame,) = ax.patches
    assert int(frame.get_x() + frame.get_width() / 2) == CLASSES.index("rain")
    assert "rain is nearest to rain (13)" in fig.alt_text


def test_the_picture_of_the_readme(untrained, monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).resolve().parent.parent / "docs")
    import readme_picture

    fig = readme_picture.draw(str(untrained))
    pictures = [ax for ax in fig.findobj(matplotlib.axes.Axes) if ax.images]
    assert [ax.images[0].get_array().shape for ax in pictures] == [(256, 256, 3)] * 8
    assert all(re.fullmatch(r"PSNR \d+\.\d dB", ax.get_xlabel()) for ax in pictures)
    assert all(f"{name} " in fig.alt_text for name in readme_picture.SHOWN) and list(STAGE_NAMES)[0] in words(fig)


def test_a_degradation_looks_the_same_whatever_stands_beside_it():
    every = style.class_looks(CLASSES, ())
    assert style.class_looks(("rain", "clean", "rain+blur"), ())["clean"] == every["clean"]
    assert len({tuple(look.values()) for look in style.class_looks(("odd", *CLASSES[1:]), ()).values()}) == len(CLASSES)
    own, mixtures = [f"own {n}" for n in range(20)], [f"mixture {n}" for n in range(7)]  # CDD-11 has 7 mixtures
    looks = style.class_looks(own, mixtures)
    assert len({tuple(look.values()) for look in looks.values()}) == len(looks) == 27


#: Machado, Oliveira and Fernandes (2009), severity 1, for linear RGB
BLIND = {
    "nobody": np.eye(3),
    "protanope": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranope": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanope": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def apart(colours, eye: str, opacity: float = 1.0) -> float:
    """The smallest CIEDE2000 distance of two colours on white, as this eye sees them; below 3 they look alike."""
    rgb = opacity * np.array([matplotlib.colors.to_rgb(colour) for colour in colours]) + 1 - opacity
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.array(BLIND[eye]).T, 0, 1)
    lab = rgb2lab(np.where(seen <= 0.0031308, 12.92 * seen, 1.055 * seen ** (1 / 2.4) - 0.055)[None])[0]
    return (deltaE_ciede2000(lab[:, None], lab[None]) + 1e3 * np.eye(len(lab))).min()


@pytest.mark.parametrize("eye", BLIND)
def test_colours_differ_for_every_eye(eye):
    assert apart(style.EXPERT_COLOURS, eye) > 10 and apart(style.EXPERT_COLOURS[:3], eye) > 12
    assert apart(style.CLASS_COLOURS, eye) > 15
    assert apart([style.BLUE, style.VERMILLION, style.GREY], eye) > 15  # marks of means, curves of severity
    assert apart([matplotlib.colormaps[causal.SHADES["cmap"]](x) for x in (0.0, 0.5, 1.0)], eye) > 25


@pytest.mark.parametrize("eye", BLIND)
def test_the_bands_of_a_flow_differ_for_every_eye(eye):
    """The colours that the figure itself has: rain, haze and blur were one grey to a deuteranope."""
    fig = plots.path_flow([[n % 3] * 8 for n in range(8)], list(CLASSES))
    bands = [p for p in fig.axes[0].patches if isinstance(p, PathPatch)]
    seen = {p.get_facecolor() for p in bands}
    assert len(seen) == len(CLASSES) and {round(colour[3], 2) for colour in seen} == {routing.RIBBON}
    assert apart([colour[:3] for colour in seen], eye, routing.RIBBON) > 15


def test_an_alike_pair_would_be_found():
    assert apart([style.GREEN, style.GREY], "deuteranope", 0.62) < 5 < apart([style.GREEN, style.GREY], "nobody", 0.62)


def test_every_axis_that_is_not_linear_says_so():
    log = pd.DataFrame({"step": range(4), "stage": "A", "loss": [4.0, 2.0, 1.0, 0.5]})
    rule = {"rule": ["one"], "degradation": "all", "n": 3, "differ": 1, "lost": 2.0, "lost_low": 1.0, "lost_high": 3.0}
    found = 0
    two = plots.two_trainings({"one": log[:0]}, {"one": log})
    for fig in (plots.training_curves(log), plots.rules_chart(pd.DataFrame(rule)), two):
        for ax in fig.axes:
            for axis in (ax.xaxis, ax.yaxis):
                if axis.get_scale() in ("log", "symlog", "asinh", "logit"):  # seaborn calls a linear one a function
                    found += 1
                    assert "logarithmic" in axis.get_label().get_text()
    assert found == 3
    scaled = r"set_[xy]scale|[xy]scale=|log_scale|symlog|semilog|loglog"
    lines = [f"{path.name}: {line.strip()}" for folder, kind in (("slerlib", "py"), ("notebooks", "ipynb"))
             for path in sorted((ROOT / folder).rglob(f"*.{kind}")) for line in path.read_text().splitlines()
             if re.search(scaled, line)]  # fmt: skip
    assert [line.partition(":")[0] for line in lines] == ["causal.py", "training.py"], (
        "a new one: mark and test it above"
    )


# --- degradations by severity -----------------------------------------------------------------------------------------


def test_degradation_grid_has_a_row_per_degradation_and_falls_with_severity():
    clean = photographs()[0].image[:, 60:140, 180:260]
    fig = plots.degradation_grid([("blur", clean), ("lowlight + rain", clean)], (0, 0.3, 0.9), seed=2)
    assert len(fig.axes) == 6 and "unchanged" in fig.axes[0].get_xlabel()
    shown = [float(ax.get_xlabel().removesuffix(" dB")) for ax in fig.axes[1:3]]
    assert shown[0] > shown[1] == pytest.approx(psnr(degrade(clean, "blur", 0.9, 2), clean), abs=0.06)
    assert f"blur unchanged, {shown[0]:.1f} dB, {shown[1]:.1f} dB; lowlight + rain unchanged" in fig.alt_text
    with pytest.raises(UserError, match="at least one picture"):
        plots.degradation_grid([])
