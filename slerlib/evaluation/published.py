"""What the papers report for the published settings, and whether a score of ours may stand beside it.

    slerlib.published("5")          # DataFrame: a row per method, columns as in the setting, then the average
    slerlib.comparability(table)    # [] or the reasons against a comparison

The numbers are copied from the papers (`published.toml`), not reproduced here.
"""

from __future__ import annotations

import math
import tomllib
from importlib.resources import files
from typing import TYPE_CHECKING

from ..data.registry import registry
from ..errors import UserError
from .settings import SETTINGS, TITLES, column_title
from .table import summary

if TYPE_CHECKING:
    from pandas import DataFrame

LEGEND = (
    "PSNR/SSIM as printed in the papers, not reproduced here. The SSIM of this run is `ssim` (7 x 7 uniform window, "
    "as PromptIR, AdaIR and DFPIR); MoCE-IR's compares with `ssim_gaussian`."
)


def published(setting: str) -> DataFrame:
    """The published rows of a setting.

    Index: method. Columns: year, params, note, and for each column of the setting and the average a pair such
    as "GoPro psnr" (dB) and "GoPro ssim"; NaN where no figure is published. For cdd11 only averages.
    Raises UserError for a setting without published figures.
    """
    import pandas as pd

    setting = str(setting)
    if setting not in SETTINGS:
        raise UserError(
            f"Published figures exist for the settings {', '.join(map(repr, SETTINGS))}; got {setting!r}. Scores of "
            "other images compare with scores of the same images alone."
        )
    table = tomllib.loads(files(__package__).joinpath("published.toml").read_text(encoding="utf-8"))[setting]
    titles = _titles(setting)[-1:] if table.get("averages") else _titles(setting)
    rows = []
    for row in table["rows"]:
        scores = zip(titles, row["psnr"], row["ssim"], strict=True)
        figures = {
            f"{title} {name}": value
            for title, *pair in scores
            for name, value in zip(("psnr", "ssim"), pair, strict=True)
        }
        rows.append({key: row.get(key, "") for key in ("method", "year", "params", "note")} | figures)
    return pd.DataFrame(rows).set_index("method")


def _titles(setting: str) -> list[str]:
    return [*(column_title(*column) for column in SETTINGS[setting]), "average"]


def comparability(table: DataFrame) -> list[str]:
    """Reasons why the scores of an evaluation must not be compared with published ones; empty if they may be.

    Comparable are whole usual test sets, cropped as PromptIR and AdaIR crop, with noise drawn as they draw it. The
    order in which a file system lists CBSD68 remains; it differs between machines.
    """
    about = table.attrs
    if unknown := [name for name in ("setting", "crop", "noise") if name not in about]:
        return [f"the table does not record its {', '.join(unknown)}"]
    if about["setting"] not in SETTINGS:
        return [f"setting {about['setting']!r} is not a published benchmark"]
    reasons = [f"{title} is missing" for title in about.get("missing") or ()]
    counts = table.groupby(["dataset", "task"], sort=False).size()
    for name, task in SETTINGS[about["setting"]]:
        n, usual = counts.get((TITLES[name], task), 0), registry()[name].counts["test"]
        if n not in (0, usual):
            reasons.append(f"{column_title(name, task)} has {n} images, not the usual {usual}")
    if about["crop"] != "center16":
        reasons.append("the images are not cropped as usual (crop='center16')")
    noisy = any(task.startswith("noise") for _, task in SETTINGS[about["setting"]])
    if noisy and about["noise"] != "promptir":
        reasons.append("the noise is drawn per image, not as PromptIR and AdaIR draw it (noise='promptir')")
    return reasons


def beside_published(table: DataFrame) -> DataFrame:
    """The published rows as text, PSNR/SSIM, with this evaluation below them.

    Raises UserError for a table of a setting without published figures.
    """
    import pandas as pd

    setting = str(table.attrs.get("setting"))
    rows, means = published(setting), summary(table).set_index(["dataset", "task"])
    titles = [title for title in _titles(setting) if f"{title} psnr" in rows]
    texts = pd.DataFrame({title: rows[[f"{title} psnr", f"{title} ssim"]].apply(_cell, axis=1) for title in titles})
    places = {column_title(*column): (TITLES[column[0]], column[1]) for column in SETTINGS[setting]}
    places["average"] = ("", "average")
    ours = [means.loc[places[t]] if places[t] in means.index else None for t in titles]
    texts.loc["this run"] = [_cell((row.psnr, row.ssim)) if row is not None else "missing" for row in ours]
    texts["note"] = [*rows.note, "not comparable" if comparability(table) else ""]
    return texts.rename_axis(None)


def _cell(scores) -> str:
    psnr, ssim = scores
    if math.isnan(psnr):
        return "?"
    return f"{psnr:.2f}" + ("" if math.isnan(ssim) else "/" + f"{ssim:.3f}".lstrip("0"))


def published_notes(table: DataFrame) -> str:
    """What to know when reading `beside_published`: the definitions, and the reasons against a comparison, if any."""
    if reasons := comparability(table):
        return f"{LEGEND} This run is not comparable with these rows: {'; '.join(reasons)}."
    return (
        f"{LEGEND} This run has the usual images, crop and noise: comparable, up to the order in which PromptIR and "
        "AdaIR list the noisy images, that of the file system."
    )
