"""Print a short row each, and the rows for docs/results.md, on mixtures and on damage in a part of the picture.

    slerlib eval tiny --data DIR --setting mixed --crop center256 --out tiny-mixed.json      # likewise small, and local
    python benchmarks/mixed_local.py tiny-mixed.json small-mixed.json
    python benchmarks/mixed_local.py tiny-local.json small-local.json

One column, or group of columns, per file. Values are means over photographs, of damage in a part after a mean over its
shapes. The short row gives the damaged part and, in brackets, the same part where the damage lies all over, and
the untouched part: those that benchmarks/make_card.py writes into the cards.
"""

import argparse

from slerlib import bootstrap_interval, summary
from slerlib.evaluation.local import by_damage
from slerlib.evaluation.metrics import with_interval
from slerlib.evaluation.results import read_run


def row(*cells) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def mixed_lines(tables: list) -> list[str]:
    """The short row, then a row for each mixture."""
    means = [summary(table).set_index("task") for table in tables]
    lines = []
    for task, first in means[0].iterrows():
        after = [with_interval(*mean.loc[task][["psnr", "psnr_low", "psnr_high"]]) for mean in means]
        worse = [mean.psnr[task] < mean.psnr_input[task] for mean in means]
        cells = [f"**{text}**" if bad else text for text, bad in zip(after, worse, strict=True)]
        lines.append(row(task, f"{first.psnr_input:.2f}", *cells))
    average = means[0].loc["average"]
    readme = [f"{mean.psnr['average']:.2f}" for mean in means]
    return [row("several damages at once", average.n, f"{average.psnr_input:.2f}", *readme), "", *lines]


def local_lines(tables: list) -> list[str]:
    """The short row; for each damage its damaged part, and its places."""
    means, parts = [summary(table).iloc[-1] for table in tables], [by_damage(table) for table in tables]
    cells = [f"{mean.psnr_damaged:.2f} ({mean.psnr_all_over:.2f}; {mean.psnr_untouched:.2f})" for mean in means]
    lines = [row("damage in a part", means[0].n, f"{means[0].psnr_damaged_input:.2f}", *cells), ""]
    places = []
    for damage in dict.fromkeys(parts[0].index.get_level_values("damage")):
        chosen = [part.loc[damage] for part in parts]
        gaps = [part.psnr_damaged - part.psnr_all_over for part in chosen]
        cells = [
            cell
            for part, gap in zip(chosen, gaps, strict=True)
            for cell in (
                f"{part.psnr_damaged.mean():.1f}",
                with_interval(*bootstrap_interval(gap.dropna()), "+.1f"),
                f"{part.psnr_untouched.mean():.1f}",
            )
        ]
        lines.append(row(damage, f"{chosen[0].psnr_damaged_input.mean():.1f}", *cells))
        named = [f"{part[name].mean():.0%}" for part in chosen for name in ("places_damaged", "places_clean")]
        places.append(row(damage, *named))
    return [*lines, "", *places]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="+", help="results.json of one setting, a file for each checkpoint")
    tables = [read_run(file).table for file in parser.parse_args().results]
    lines = local_lines if tables[0].attrs["setting"] == "local" else mixed_lines
    print("\n".join(lines(tables)))


if __name__ == "__main__":
    main()
