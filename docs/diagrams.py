"""Draw the diagrams of the lessons.

    python docs/diagrams.py          # writes docs/images/lessons/*.svg, prints their lines for the notebooks

Numbers come from the recipe `tiny`; a test holds the committed files equal to the output of this script.
"""

from pathlib import Path

import diagrams_measure
import diagrams_model
from drawing import WIDTH, svg

FOLDER = Path(__file__).parent / "images" / "lessons"


def drawings() -> dict[str, tuple[str, str]]:
    """Name -> the SVG and its alt text."""
    made = {}
    for draw in (*diagrams_model.DIAGRAMS, *diagrams_measure.DIAGRAMS):
        title, alt, height, parts = draw()
        made[draw.__name__] = svg(WIDTH, height, title, alt, parts), alt
    return made


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, (picture, alt) in drawings().items():
        (FOLDER / f"{name}.svg").write_text(picture, encoding="utf-8")
        print(f"![{alt}](../docs/images/lessons/{name}.svg)")
