"""The options of an evaluation, checked before any work."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from ..config import CLASSES, LAYERS
from ..config.values import as_float, as_int, as_list, as_str, literal
from ..data.degrade import degradation_order
from ..errors import UserError
from ..inference.restore import MOST_PASSES
from .local import LOCAL_DAMAGES, local_tasks
from .settings import MIXTURES, SETTINGS

CROPS = {
    "center16": "centre-cropped to a multiple of 16 before restoring",
    "center256": "the central 256 x 256 pixels, of a smaller image all, in multiples of 16",
    "none": "whole image",
}
NOISES = {
    "slerlib": "one seed per (seed, image name, sigma), clipped to [0, 1], not rounded",
    "promptir": "as PromptIR and AdaIR draw it: one global numpy stream, seed 0, through each clean set at sigma 15, "
    "then 25, then 50, in name order (theirs is the file system's); clipped and floored to 8 bits",
}
#: Settings that damage clean photographs -> their tasks, and the severity (noise classes have their own level).
MADE_HERE = {"demo": (CLASSES, 0.5), "mixed": (MIXTURES, 0.35), "local": (tuple(local_tasks(LOCAL_DAMAGES)), 0.5)}
ALL_SETTINGS = (*SETTINGS, "pairs", *MADE_HERE)
ROUTES = ("image", "place")
CHOICES = ("passes", "route")  # options that `restore` takes; None: left to it
RULES = {  # option -> (reader, does its value fit, the rule in words, the next step)
    "setting": (as_str, ALL_SETTINGS.__contains__, f"one of {', '.join(map(repr, ALL_SETTINGS))}",
                "Take 'demo' for any photographs."),
    "images": (as_int, lambda n: n >= 0, "a whole number, 0 for all", "Try images=2."),
    "severity": (as_float, lambda s: 0 <= s <= 1, "a number from 0 to 1", "Try severity=0.5."),
    "seed": (as_int, lambda n: n >= 0, "a whole number of 0 or more", "Try seed=1."),
    "crop": (lambda name: as_str(name or "none"), CROPS.__contains__, "'center16', 'center256' or 'none'",
             "Leave it out for 'center16'."),
    "noise": (as_str, NOISES.__contains__, "'slerlib' or, for test sets, 'promptir'",
              "Leave it out for noise that depends on the image alone."),
    "passes": (lambda n: None if literal(n) in (None, "") else "auto" if n == "auto" else as_int(n),
               lambda n: n in (None, "auto", *range(1, MOST_PASSES + 1)), f"1 to {MOST_PASSES}, or 'auto'",
               "Leave it out."),
    "route": (lambda name: as_str(name) if literal(name) is not None else None, (None, *ROUTES).__contains__,
              "'image' or 'place'", "Leave it out for what the network was trained for."),
}  # fmt: skip


@dataclass(frozen=True)
class Options:
    """Options of `slerlib.evaluate`; all may be text, as from papermill. Raises UserError outside the rules."""

    setting: str = "demo"
    images: int = 0
    severity: float | None = None
    seed: int = 0
    crop: str = "center16"
    noise: str = "slerlib"
    classes: tuple[str, ...] | None = None  # the tasks of a setting of MADE_HERE; None for other settings
    passes: int | str | None = None
    route: str | None = None

    def __post_init__(self):
        made = MADE_HERE.get(checked("setting", self.setting))
        if literal(self.severity) in (None, ""):
            object.__setattr__(self, "severity", made[1] if made else 0.5)
        for name in RULES:
            object.__setattr__(self, name, checked(name, getattr(self, name)))
        if made and self.noise != "slerlib":
            raise UserError(
                f"noise={self.noise!r} belongs to test sets, not to setting={self.setting!r}. Leave it out."
            )
        if not made and literal(self.classes) not in (None, ""):
            raise UserError(
                f"classes belong to the settings {', '.join(MADE_HERE)}; got {self.classes!r} with {self.setting!r}. "
                "Leave them out."
            )
        object.__setattr__(self, "classes", checked_tasks(self.classes, self.setting) if made else None)


def checked(name: str, value):
    """The value of an option of RULES in its type. Raises UserError for a value that breaks the rule."""
    reader, fits, rule, step = RULES[name]
    with suppress(ValueError, TypeError, OverflowError):
        if fits(result := reader(value)):
            return result
    raise UserError(f"{name} must be {rule}; got {value!r}. {step}")


def checked_tasks(classes, setting: str = "demo") -> tuple[str, ...]:
    """The tasks to evaluate; None means all of the setting. Raises UserError for unknown and repeated ones."""
    if literal(classes) in (None, ""):
        return MADE_HERE[setting][0]
    tasks = tuple(as_list(classes))
    if setting == "local":
        tasks = tuple(local_tasks(map(str, tasks)))
    else:
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
