"""What lies beside the photographs and pairs of a training: measured blur kernels, and depth maps. [ours]

It does not count as a layout: photographs in other folders stay what they would be without it.
"""

from __future__ import annotations

from pathlib import Path

from .registry import registry
from .search import Search
from .words import DEPTH, KERNEL, own_name, scene_key, words

NAMES = {KERNEL, f"{KERNEL}s", "blur", "motion", "measured"}  # words of a folder of kernels
SUFFIXES = (".png", ".tif", ".tiff")  # of files that can hold a depth map or a kernel


def kernels(search: Search) -> None:
    """Measured blur kernels: grey pictures in a folder named kernels, blur_kernels and the like."""
    for folder in search.files:
        files = _files(search, folder)
        stated = {*words(folder.name)}
        if files and stated & {KERNEL, f"{KERNEL}s"} and stated <= NAMES:
            names = search.own(folder)
            rows = search.sets.setdefault((own_name(names), KERNEL, search.own_split(names)), [])
            rows.extend((folder, None, file) for file in files)
            search.used.update(files)


def depth_maps(search: Search) -> None:
    """Depth maps and their photographs: 1.depth.png beside 1.color.jpg, or depth/1.png beside rgb/1.jpg.

    Where there are such maps, names a problem for others without a photograph, which would be taken for one.
    """
    for folder in search.files:
        files, around = _files(search, folder), [folder]
        maps = [file for file in files if scene_key(file.stem)[1]]
        if not maps and scene_key(folder.name) == ((), True):
            beside = [f for f in search.files if f.parent == folder.parent]
            maps, around = files, [f for f in beside if scene_key(f.name) == ((), False)]
        photographs: dict[tuple, list[Path]] = {}
        for file in (file for f in around if maps for file in search.free(f) if file not in maps):
            photographs.setdefault(scene_key(file.stem)[0], []).append(file)
        pairs = [(file, photographs.get(scene_key(file.stem)[0], [])) for file in maps]
        pairs = {file: options[0] for file, options in pairs if len(options) == 1}
        if pairs:
            key = (_name(search, folder), DEPTH, search.own_split(search.own(folder)))
            search.sets.setdefault(key, []).extend((folder, *pair) for pair in pairs.items())
            search.used.update(pairs, pairs.values())
    if not any(task == DEPTH for _, task, _ in search.sets):
        return
    for folder in search.files:
        if lone := [file for file in _files(search, folder) if scene_key(file.stem)[1]]:
            search.used.update(lone)
            search.name(folder, "ignored", f"has {len(lone)} depth maps without a photograph; they are left out.")


def _files(search: Search, folder: Path) -> list[Path]:
    return [file for file in search.free(folder) if file.suffix.lower() in SUFFIXES]


def _name(search: Search, folder: Path) -> str:
    """Name in the registry of the set of a folder with depth maps, else that of the folder."""
    entries = (entry for entry in registry().values() if entry.task == DEPTH)
    listed = (entry.name for entry in entries for place in entry.places if place.holds(search.parts(folder)))
    names = search.own(folder)
    return next(listed, None) or own_name(names[:-1] if scene_key(names[-1]) == ((), True) else names)
