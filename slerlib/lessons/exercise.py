"""An exercise: a function to write, three hints, a solution, and a check that shows where an answer breaks its rule.

    @exercise("easy", 5, "first hint", "second hint", "third hint")
    def double(x):
        \"\"\"Twice the number.\"\"\"
        return 2 * x

    @double.check
    def _(answer):
        same("Twice 3 is 6.", run(answer, 3), 6)

The solution is the decorated function; the stub that stands in the notebook is its head with an empty body. A check
raises `Wrong` at the first rule that the answer breaks. Names of arguments carry shapes: C channels, H W pixels.
"""

from __future__ import annotations

import copy
import inspect
import re
import textwrap
import traceback
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

LEVELS = ("easy", "medium", "hard")


class Wrong(Exception):
    """An answer breaks a rule. rule: the property, one sentence. example: where, with both values, in words.

    pictures: (title, (3, H, W) picture or (H, W) map), shown below the words.
    """

    def __init__(self, rule: str, example: str, pictures: Sequence[tuple[str, Tensor]] = ()):
        super().__init__(f"{rule} {example}")
        self.rule, self.example = rule, example
        self.pictures = [(title, x) for title, x in pictures if _is_picture(x)]  # a learner's may have any shape


class Exercise:
    """A function to write. solution: the function. hints: three, from a question to nearly all of the answer."""

    def __init__(self, solution: Callable, level: str, minutes: int, hints: tuple[str, ...]):
        self.solution, self.level, self.minutes, self.hints = solution, level, minutes, hints
        self.name = solution.__name__
        self._check: Callable = lambda answer: None

    def check(self, function: Callable) -> Callable:
        """Decorator of the function that checks an answer."""
        self._check = function
        return function

    @property
    def source(self) -> str:
        """The solution as text."""
        lines = inspect.getsource(self.solution).splitlines()
        first = next(n for n, line in enumerate(lines) if line.startswith("def "))
        return "\n".join(lines[first:])

    @property
    def stub(self) -> str:
        """What stands in the notebook: the head of the function, what it must do, and no body."""
        head = self.source.partition('"""')[0]
        return f'{head}"""{self.solution.__doc__}"""\n    ...'

    @property
    def heading(self) -> str:
        """Its line in the lesson's text."""
        return f"**Exercise** `{self.name}` ({self.level}, {self.minutes} minutes)."

    def problem(self, answer: Callable) -> Wrong | None:
        """The first rule that the answer breaks, or None for a right answer."""
        try:
            if not callable(answer):
                raise Wrong("The answer is a function.", f"`{self.name}` is {_short(answer)}.")
            self._check(answer)
        except Wrong as wrong:
            return wrong
        except Exception as error:  # the check could not read the result: a text, a list of lists of another length
            text = textwrap.shorten(str(error), 160).rstrip(".")
            kind = re.match(r"'(list|tuple|float|int|bool|str|numpy\.\w+)' object has no attribute", text)
            words = f"Yours is a {kind[1]}; a tensor of torch is asked for" if kind else f"Reading it fails: {text}"
            return Wrong("The result is of the kind that the description names.", f"{words}.")
        return None


def exercise(level: str, minutes: int, *hints: str) -> Callable[[Callable], Exercise]:
    """Decorator: makes an `Exercise` of its solution. level: easy, medium or hard."""
    assert level in LEVELS and len(hints) == 3, (level, hints)
    return lambda solution: Exercise(solution, level, minutes, hints)


# --- what checks are made of


def run(answer: Callable, *arguments):
    """What the answer returns for copies of the arguments. Wrong if it raises, returns nothing, or changes them."""
    own = copy.deepcopy(arguments)
    result = call(answer, *own)
    for before, after in zip(arguments, own, strict=True):
        if not _unchanged(before, after):
            raise Wrong("The arguments stay as they are.", f"Your function changed {_short(before)} in place.")
    return result


def call(answer: Callable, *arguments):
    """What the answer returns for the arguments themselves. Wrong if it raises or returns nothing."""
    words = ", ".join(map(_short, arguments))
    try:
        result = answer(*arguments)
    except Exception as error:
        file = getattr(getattr(answer, "__code__", None), "co_filename", None)
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
        where = f" in line {lines[-1]} of your cell" if lines else ""
        text = textwrap.shorten(str(error), 160)
        raise Wrong(
            "The function runs.", f"For {words} it stops{where}: {type(error).__name__}: {text.rstrip('.')}."
        ) from None
    if result is None:
        raise Wrong("The function returns a value.", f"For {words} it returns None. Is there a `return`?")
    return result


def _unchanged(before, after) -> bool:
    """Whether an argument is as it was: a tensor, an array, a number or a list of these. `rng` may change."""
    if isinstance(before, list | tuple):
        return len(before) == len(after) and all(map(_unchanged, before, after))
    if isinstance(before, Tensor | np.ndarray):
        return np.array_equal(_array(before), _array(after), equal_nan=True)
    return not isinstance(before, int | float | None) or before == after


def same(rule: str, mine, truth, tolerance: float = 1e-5, case: str = "", pictures: Sequence = ()) -> None:
    """Wrong unless two numbers, arrays or tensors agree: shape, finite values, then each value to `tolerance`.

    The counter-example is the place with the largest difference. case: the input in words, "For a black picture".
    """
    case = f"{case}: " if case else ""
    try:
        a, b = _array(mine), _array(truth)
    except (TypeError, ValueError):
        raise Wrong(rule, f"{case}expected {_short(truth)}, yours is {_short(mine)}.", pictures) from None
    if a.shape != b.shape:
        raise Wrong(f"The result has the shape {b.shape}.", f"{case}yours has {a.shape}.", pictures)
    with np.errstate(invalid="ignore"):
        off = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, np.abs(a - b))
    off = np.where(np.isnan(off), np.inf, off)
    if off.size == 0 or off.max() <= tolerance:
        return
    place = np.unravel_index(int(off.argmax()), off.shape)
    at = f"at {tuple(map(int, place))} " if off.ndim else ""
    digits = 6 if f"{a[place]:.6g}" != f"{b[place]:.6g}" else 9
    raise Wrong(
        rule, f"{case}{at}yours is {a[place] + 0.0:.{digits}g}, right is {b[place] + 0.0:.{digits}g}.", pictures
    )


def holds(rule: str, true: bool, example: str, pictures: Sequence = ()) -> None:
    """Wrong unless `true`."""
    if not true:
        raise Wrong(rule, example, pictures)


def _is_picture(x) -> bool:
    return isinstance(x, Tensor) and x.numel() > 0 and (x.ndim == 2 or (x.ndim == 3 and len(x) == 3))


def _array(x) -> np.ndarray:
    return np.asarray(x.detach().cpu() if isinstance(x, Tensor) else x, dtype=float)


def _short(x) -> str:
    """A value in a few words: the shape of arrays, else its text."""
    if isinstance(x, Tensor | np.ndarray) and x.ndim:
        kind = "tensor" if isinstance(x, Tensor) else "array"
        return f"{kind} {tuple(x.shape)}" if np.size(_array(x)) > 6 else str(np.round(_array(x), 3).tolist())
    if callable(x):
        return f"`{getattr(x, '__name__', 'function')}`"
    return textwrap.shorten(repr(x.item() if isinstance(x, Tensor) else x), 80)


def noise(*shape: int, seed: int = 0) -> Tensor:
    """A random picture, in [0, 1], the same at each call."""
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))
