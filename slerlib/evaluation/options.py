"""The options of an evaluation, checked before any work."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from ..config import CLASSES, LAYERS
from ..config.values import as_float, as_int, as_list, as_str, literal
from ..data.degrade import degradation_order
from ..errors import UserError
from .settings import SETTINGS

CROPS = {"center16": "centre-cropped to a multiple of 16 before restoring", "none": "whole image"}
NOISES = {
    "slerlib": "one seed per (seed, image name, sigma), clipped to [0, 1], not rounded",
    "promptir": "as PromptIR and AdaIR draw it: one global numpy stream, seed 0, through each clean set at sigma 15, "
    "then 25, then 50, in name order (theirs is the file system's); clipped and floored to 8 bits",
}
ALL_SETTINGS = (*SETTINGS, "pairs", "demo")
RULES = {  # option -> (reader, does its value fit, the rule in words, the next step)
    "setting": (as_str, ALL_SETTINGS.__contains__, f"one of {', '.join(map(repr, ALL_SETTINGS))}",
                "Take 'demo' for any photographs."),
    "images": (as_int, lambda n: n >= 0, "a whole number, 0 for all", "Try images=2."),
    "severity": (as_float, lambda s: 0 <= s <= 1, "a number from 0 to 1", "Try severity=0.5."),
    "seed": (as_int, lambda n: n >= 0, "a whole number of 0 or more", "Try seed=1."),
    "crop": (lambda name: as_str(name or "none"), CROPS.__contains__, "'center16' or 'none'",
             "Leave it out for 'center16'."),
    "noise": (as_str, NOISES.__contains__, "'slerlib' or, for test sets, 'promptir'",
              "Leave it out for noise that depends on the image alone."),
}  # fmt: skip


@dataclass(frozen=True)
class Options:
    """Options of `slerlib.evaluate`; all may be text, as from papermill. Raises UserError outside the rules."""

    setting: str = "demo"
    images: int = 0
    severity: float = 0.5
    seed: int = 0
    crop: str = "center16"
    noise: str = "slerlib"
    classes: tuple[str, ...] | None = None  # the tasks of the demo; None for other settings

    def __post_init__(self):
        for name in RULES:
            object.__setattr__(self, name, checked(name, getattr(self, name)))
        if self.setting == "demo" and self.noise != "slerlib":
            raise UserError(f"noise={self.noise!r} belongs to test sets, not to setting='demo'. Leave it out.")
        if self.setting != "demo" and literal(self.classes) not in (None, ""):
            raise UserError(
                f"classes belong to setting='demo'; got {self.classes!r} with {self.setting!r}. Leave them out."
            )
        object.__setattr__(self, "classes", checked_tasks(self.classes) if self.setting == "demo" else None)


def checked(name: str, value):
    """The value of an option of RULES in its type. Raises UserError for a value that breaks the rule."""
    reader, fits, rule, step = RULES[name]
    with suppress(ValueError, TypeError, OverflowError):
        if fits(result := reader(value)):
            return result
    raise UserError(f"{name} must be {rule}; got {value!r}. {step}")


def checked_tasks(classes) -> tuple[str, ...]:
    """The tasks to evaluate; None means all classes. Raises UserError for unknown and repeated ones."""
    if literal(classes) in (None, ""):
        return CLASSES
    tasks = tuple(as_list(classes))
    for task in tasks:
        degradation_order(str(task).split("+"))
    if not tasks or len(set(tasks)) < len(tasks):
        raise UserError(f"classes must name at least one task, each once; got {list(tasks)}. Leave it out for all.")
    return tasks


def checked_path(path, tasks: Iterable[str]):
    """A forced path: None, digits, a list or tensor, or a dictionary task -> path.

    tasks: of the evaluation; a dictionary may also name other degradations. Raises UserError for another key.
    """
    if isinstance(path, int) and not isinstance(path, bool):  # papermill takes 01201120 for a number
        return str(path).zfill(LAYERS)
    if isinstance(path, str):
        value = literal(path)
        path = None if value in (None, "") else value if isinstance(value, (list, tuple, dict)) else path
    if not isinstance(path, Mapping):
        return path
    tasks = dict.fromkeys(tasks)
    for name in (name for name in path if name not in tasks):
        try:
            degradation_order(str(name).split("+"))
        except UserError:
            raise UserError(
                f"path may be a dictionary from a task to its path; the tasks here are {', '.join(tasks)}; got "
                f"{name!r}. Correct the name."
            ) from None
    return {name: checked_path(one, ()) for name, one in path.items()}
