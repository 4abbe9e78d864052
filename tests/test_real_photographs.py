"""The figure of real photographs: its script on made pictures, its credits, and its page."""

import re
from pathlib import Path

import pytest
import torch
from PIL import Image

from slerlib.images.files import write_image

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def drawing(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "docs")
    import real_photographs

    return real_photographs


def picture(path: Path, height: int = 48, width: int = 64) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, torch.rand(3, height, width))


def test_the_figures_of_real_photographs(drawing, untrained, tmp_path, capsys):
    """All but one of the twelve, and of the others four dark ones, of which three are drawn."""
    for name, _, source, file in drawing.SHOWN:
        if source in drawing.DEBIAN and name != "lake":
            picture(tmp_path / "root" / drawing.DEBIAN[source] / file, *((700, 40) if name == "room" else (48, 64)))
        elif source == "data":
            picture(tmp_path / file)
            picture(tmp_path / file.replace("input", "target"))
    for name in "abcd":
        picture(tmp_path / f"real_nogt/lowlight/{name}.png")
    folders = ["--data", tmp_path, "--debian", tmp_path / "root", "--out", tmp_path]
    drawing.main([str(arg) for arg in (untrained, *folders, "--private", tmp_path / "private.jpg")])

    missing, *lines = [line for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert missing.startswith("left out: lake")
    first, second, third = (line for line in lines if line.startswith("!"))
    hazy_and_dark = [name for name, damage, *_ in drawing.SHOWN if damage != "blur" and name != "lake"]
    assert re.findall(r"(\w+) \((?:haze|dark)\) brightness \d+ to \d+, seen as \w+ \d+%", first) == hazy_and_dark
    assert len(re.findall(r"\(blur\) \d+\.\d to \d+\.\d dB, seen as", second)) == 3 and "clock (blur) bright" in second
    assert re.findall(r"DICM (\w)", third) == ["a", "c", "d"]
    table = [line.strip("| ").split(" | ") for line in lines if line.startswith("| ")][1:]
    assert [row[0] for row in table if not row[0].startswith("DICM")] == [
        name for name, *_ in drawing.SHOWN if name != "lake"
    ]
    assert all(re.fullmatch(r"\d+ to \d+", row[3]) and re.match(r"\w+ \d+ %", row[4]) for row in table)
    for file, columns in (("real", 4), ("real_blur", 3), ("private", 3)):
        with Image.open(tmp_path / f"{file}.jpg") as drawn:
            assert drawn.width / columns >= 230 and drawn.height > 300


def test_the_score_of_a_result_and_where_it_loses(drawing):
    x = torch.full((3, 40, 40), 0.5)
    y = x.clone()
    y[:, :8, :8] = 0.9  # 64 of 1600 pixels
    result = drawing.Result("wall", "blur", x, y, x - 0.1, "blur 100%")
    assert result.scores() == ("20.0", f"{-10 * torch.tensor(0.01 * 0.96 + 0.25 * 0.04).log10():.1f}")
    assert result.loss() == "wall: 100% of the error that the network adds lies in a twentieth of the pixels"
    assert drawing.Result("wall", "blur", y, x, x, "").loss() == ""  # better than before
    assert drawing.Result("wall", "blur", x, y, None, "").loss() == ""
    dull = drawing.Result("fog", "haze", 0.5 + 0.1 * (y - x), y, y, "haze 100%")
    assert dull.contrast() == "fog: standard deviation of grey 2, restored 20, target 20" and not result.contrast()
    assert [part.shape for part in result.parts()] == [(3, 30, 40)] * 3


def test_every_real_photograph_is_credited_and_stands_on_its_page(drawing):
    rows = [row for row in (ROOT / "docs/credits.md").read_text().splitlines() if row.startswith("|")]
    credits = {row.split("|")[1].strip(): row for row in rows}
    results = (ROOT / "docs/photographs.md").read_text()
    hazy_and_dark, blurred = (
        re.search(rf"!\[(.*)\]\(images/{file}\.jpg\)", results)[1] for file in ("real", "real_blur")
    )
    for name, damage, *_ in drawing.SHOWN:
        assert re.search(r"\| (public domain|CC0|CC BY [24]\.0) \|", credits[name]), name
        assert f"{name} ({damage})" in (blurred if damage == "blur" else hazy_and_dark)
        assert re.search(rf"^\| {name} \| {damage} \|", results, flags=re.M), name
