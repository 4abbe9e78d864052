"""Read from the name of a folder or file its side of a pair, its task, its split, its class. [ours]

A name is divided into words: "IMG_1000_old" -> img, 1000, old. So "rain-1" holds the word "rain", and "train" does not.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import cache

from .degrade import MADE
from .registry import WORDS

#: Words for the degraded side, with the task that the word alone names.
INPUTS = {
    "input": None, "inputs": None, "lq": None, "lr": None, "degraded": None, "degradation": None, "damaged": None,
    "distorted": None, "corrupted": None, "before": None, "old": None, "bad": None, "faded": None, "scratched": None,
    "broken": None, "source": None, "src": None, "compressed": None, "noisy": None, "noise": None,
    "rain": "rain", "rainy": "rain", "rained": "rain", "raindrop": None, "haze": "haze", "hazy": "haze", "fog": "haze",
    "foggy": "haze", "blur": "blur", "blurry": "blur", "blurred": "blur", "low": "lowlight", "dark": "lowlight",
    "snow": "snow", "snowy": "snow",
}  # fmt: skip
#: Words for the clean side. Among clean folders the one with most partners counts, then the first in this order.
TARGETS = (
    "target", "targets", "gt", "groundtruth", "truth", "hq", "hr", "high", "normal", "sharp", "norain", "nohaze",
    "clear", "clean", "after", "fixed", "restored", "good", "reference", "ref", "label", "labels", "original",
    "originals", "orig",
)  # fmt: skip
SIDES = (
    "input", "inputs", "lq", "lr", "degraded", "degradation", "damaged", "distorted", "corrupted", "before", "bad",
    "source", "src", *TARGETS,
)  # fmt: skip  # words that name a side and nothing else
SURE = ("input", "inputs", "lq", "lr", "degraded", "noisy", "rainy", "hazy", "blurry", "blurred", "low")
FILLERS = (
    "image", "images", "img", "imgs", "picture", "pictures", "photo", "photos", "crop", "crops", "patch", "patches",
    "frames", "files", "png", "jpg", "jpeg", "srgb", "rgb", "gamma", "bicubic", "comp",
)  # fmt: skip
TASKS = {"denois": "noise", "derain": "rain", "dehaz": "haze", "deblur": "blur", "enhanc": "lowlight"}  # word begins so
LOW_LIGHT = ("lowlight", "llie")
SPLITS = {split.casefold(): tuple(words.split("|")) for split, words in WORDS.items()}
NOTHING = (
    "data", "dataset", "datasets", "pair", "pairs", "paired", "folder", "own", "my", "new", "tmp", "temp", *FILLERS,
    *SPLITS["train"], *SPLITS["test"],
)  # fmt: skip
COLOUR = ("color", "colour", *FILLERS)  # words of a photograph that has a depth map
DEPTH = "depth"  # the word for a depth map, and the task of photographs with one
KERNEL = "kernel"  # the task of measured blur kernels
OWN = "own"  # the class of pairs whose folder has a name that states nothing


@cache
def words(name: str) -> tuple[str, ...]:
    """Casefolded runs of letters and of digits; an umlaut is one letter, as on Linux, or two signs, as on a Mac."""
    name = unicodedata.normalize("NFC", name)
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).casefold()
    name = re.sub(r"ground[ _-]?truth", "groundtruth", name)
    name = re.sub(r"low[ _-]?light", "lowlight", name)
    name = re.sub(r"(low|high)[ _-](quality|resolution|res)", r"\1", name)
    return tuple(re.findall(r"[^\W\d_]+|\d+", name))


def side(name: str, fillers: Sequence[str] = ()) -> tuple[str | None, tuple[str, ...], str | None]:
    """(which side of a pair: "input", "target" or None; the other words, without `fillers`; the word that states it).

    With words for both sides the last one counts: blur_gt is a target.
    """
    sides = [
        (word, "input" if word in INPUTS else "target") for word in words(name) if word in INPUTS or word in TARGETS
    ]
    rest = tuple(word for word in words(name) if word not in INPUTS and word not in TARGETS and word not in fillers)
    return (sides[-1][1], rest, sides[-1][0]) if sides else (None, rest, None)


def scene_key(name: str) -> tuple[tuple[str, ...], bool]:
    """(the words of the name of a photograph or of its depth map that both have, whether it is that of a depth map)."""
    parts = words(name)
    return tuple(word for word in parts if word not in (DEPTH, *COLOUR)), DEPTH in parts


def task_of(name: str) -> str | None:
    """The task that a folder's name states: "my_denoising" -> noise, "lowlight" -> lowlight, "flowers" -> None."""
    for word in words(name):
        task = next((task for start, task in TASKS.items() if word.startswith(start)), None)
        if task or word in LOW_LIGHT:
            return task or "lowlight"
    return None


def split_of(name: str, whole: bool = False) -> str | None:
    """ "test" or "train" where a word of the name states it (test_a, Valid1), or `whole`: where it is the name."""
    parts = [name.casefold()] if whole else re.split(r"[^a-z]+", name.casefold())
    return next((split for split in ("test", "train") if set(parts) & set(SPLITS[split])), None)


def own_name(names: Sequence[str]) -> str:
    """The name of an own set: of the innermost folder that is not named by its split alone, else "own"."""
    return next((name for name in reversed(names) if not split_of(name, whole=True)), OWN)


def own_class(names: Iterable[str]) -> str:
    """The class of pairs of no known task: the innermost folder's name that states something, else "own".

    The name of a degradation is that class: pairs in snow/ are snow. Pairs in noise/ or clean/ become noise-pairs and
    clean-pairs, since these two names stand for clean photographs.
    """
    for name in reversed(list(names)):
        text = "".join(word for word in words(name) if word not in NOTHING and not word.isdigit())
        if text in ("noise", "clean"):
            return f"{text}-pairs"
        if text in MADE:
            return text
        if len(text) > 1 and text not in SIDES:
            return re.sub(r"[+,=\s]+", "_", name.strip())
    return OWN
