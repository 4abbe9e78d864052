"""Draw what `tiny-places` sees where, and the experts of each place: docs/images/places.jpg and place_paths.jpg.

python docs/places.py
"""

from pathlib import Path

import slerlib
from slerlib import plots
from slerlib.data.masks import mask
from slerlib.data.scenes import photographs

IMAGES = Path(__file__).parent / "images"
SHOWN = (
    ("coffee", "noise25", "field"),
    ("flower", "rain", "half"),
    ("astronaut", "haze", "half"),
    ("cat", "lowlight", "disc"),
)


def main() -> None:
    model, scenes = slerlib.load("tiny-places"), {scene.name: scene.image for scene in photographs()}
    rows = {}
    for seed, (name, damage, shape) in enumerate(SHOWN):
        clean = scenes[name][:, :240, :320].contiguous()
        x = slerlib.degrade(clean, damage, severity=0.6, seed=seed, where=mask(shape, *clean.shape[1:], seed))
        rows[f"{damage}, {shape}"] = (x, slerlib.restore(model, x, return_trace=True)[1])
    for name, fig in (("places", plots.where_map(rows)), ("place_paths", plots.path_maps(*rows["noise25, field"]))):
        fig.savefig(IMAGES / f"{name}.jpg", pil_kwargs={"quality": 85})
        print(fig.alt_text)


if __name__ == "__main__":
    main()
