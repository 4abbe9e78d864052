"""The data sets that slerlib knows: `data/registry.toml` of a clone, or the copy inside an installed wheel. [ours]"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

from ..errors import UserError

LAYOUTS = {"A": "PromptIR / AdaIR", "B": "MoCE-IR", "C": "original downloads", "list": "a list of pairs",
           "pairs": "pairs of any other name", "clean": "clean photographs"}  # fmt: skip
WORDS = {"TRAIN": "train|training", "TEST": "test|testing|val|valid|validation|eval|evaluation"}


@dataclass(frozen=True)
class Place:
    """Where the images of one split of a set lie in one layout; the fields are explained in registry.toml."""

    layout: str
    split: str
    folder: str
    target: str | None = None
    files: str = "*"

    def holds(self, parts: tuple[str, ...]) -> bool:
        """Whether a folder, as the casefolded parts of its path, is this place."""
        wanted = self.folder.split("/")
        return len(parts) >= len(wanted) and all(map(matches, parts[-len(wanted) :], wanted))

    def takes(self, name: str) -> bool:
        return matches(name.casefold(), self.files)

    def rank(self) -> tuple:
        """Sort key: places with named files first, then those with fewer wild cards and longer paths."""
        return self.files == "*", self.folder.count("*"), -self.folder.count("/"), self.layout


@dataclass(frozen=True)
class Entry:
    """One data set of the registry."""

    name: str
    title: str
    task: str  # "folder": the name of the folder gives it
    counts: dict[str, int]  # usual number of images or pairs per split
    source: str
    licence: str
    citation: str
    places: tuple[Place, ...]
    core: bool = False  # part of the three- and five-task settings
    loose: bool = False  # depth maps that do not lie on their photographs
    spare: bool = False  # clean images without a damaged one are usual


def matches(name: str, patterns: str) -> bool:
    """Whether a casefolded name fits one of the patterns separated by "|"."""
    for word, meaning in WORDS.items():
        if word in patterns:
            tail = patterns.partition(word)
            patterns = "|".join(f"{tail[0]}{one}{tail[2]}" for one in meaning.split("|"))
    return any(fnmatchcase(name, pattern.casefold()) for pattern in patterns.split("|"))


def registry_file() -> Path:
    """The clone's data/registry.toml, or the package's own copy. Raises UserError where there is neither."""
    package = Path(__file__).resolve().parent.parent
    places = package.parent / "data" / "registry.toml", package / "_registry.toml"
    for place in places:
        if place.is_file():
            return place
    raise UserError(f"The data sets are described in registry.toml; neither {places[0]} nor {places[1]} exists. "
                    "Install slerlib again.")  # fmt: skip


@cache
def registry() -> dict[str, Entry]:
    """Name -> entry, in the file's order. Raises UserError for a file of another form."""
    file = registry_file()
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8"))
        return {
            name: Entry(name, **{**table, "places": tuple(Place(**place) for place in table["places"])})
            for name, table in tables.items()
        }
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, TypeError, KeyError) as error:
        raise UserError(
            f"Each set in registry.toml needs title, task, counts, source, licence, citation and places; {file} does "
            f"not fit: {error}. Compare it with the other entries."
        ) from None
