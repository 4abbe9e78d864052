"""What a notebook of the course uses: predictions that are scored, exercises that are checked, a table at the end.

lesson = lessons.Lesson(4)
lesson.predict("steps a second", my_guess, measured, "steps", within=3)
high_pass = lesson.check("high_pass", high_pass)    # the answer where it is right, else the solution: go on
lesson.hint("high_pass")                            # the next of three hints
lesson.solution("high_pass")                        # prints the solution
lesson.score()                                      # the table of this lesson
"""

from __future__ import annotations

import dis
import math
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

from ..errors import UserError
from . import progress
from .exercise import Exercise
from .plan import COURSE

if TYPE_CHECKING:
    from pandas import DataFrame

Guess = float | str | None


class Lesson:
    """One lesson of the course, by its number. Attributes: `exercises` by name; `about`, its row of the course."""

    def __init__(self, number: int):
        if number not in range(len(COURSE)):
            raise UserError(f"A lesson is a number from 0 to {len(COURSE) - 1}; got {number!r}. Choose one.")
        self.about, self.key = COURSE[number], f"{number:02d}"
        module = import_module(f".{self.about.module}", __package__)
        self.exercises = {item.name: item for item in vars(module).values() if isinstance(item, Exercise)}

    def predict(self, name: str, guess: Guess, measured: float | str, unit: str = "", within: float = 0) -> None:
        """Compare a guess with what was measured, in its unit, and keep the first guess for the table.

        guess: None is no guess. within: the largest difference that still counts as close.
        """
        truth = measured if isinstance(measured, str) else float(measured)
        right = f"measured {_number(truth)} {unit}".rstrip()
        if guess is None:
            print(f"{name}: {right} (no guess).")
            return
        if not _fits(guess, truth):
            kind = "a word in quotes" if isinstance(truth, str) else "a number"
            print(f"{name}: {right}. A guess is {kind} here; yours is {guess!r}.")
            return
        guess = guess if isinstance(guess, str) else float(guess)
        words, close = _compare(guess, truth, unit, within)
        print(f"{name}: guess {_number(guess)} {unit}".rstrip() + f", {right}: {words}.")
        row = {"guess": guess, "measured": truth, "unit": unit, "result": words, "close": close}
        progress.change(self.key, lambda entry: entry["predictions"].setdefault(name, row))

    def check(self, name: str, answer: Callable) -> Callable:
        """Check an answer and say what is wrong, with a counter-example. Returns it if it is right, else the solution,
        so that the lesson goes on."""
        task = self._exercise(name)
        if _is_stub(answer) or answer is task.solution:  # the second: this cell was run again, without the one above
            print(f'Write `{name}` above and run both cells again. lesson.hint("{name}") gives a hint.')
            print("Until then the lesson goes on with the solution.")
            return task.solution
        wrong = task.problem(answer)
        if wrong:
            print(f"Not yet. {wrong.rule}\n{wrong.example}")
            if wrong.pictures:
                from IPython.display import display

                from ..plots import picture_row

                display(picture_row(wrong.pictures))
            print(f'Stuck? lesson.hint("{name}"). The lesson goes on with the solution.')
        else:
            print(f"Yes: `{name}` is right.")
        self._note(name, tries=1, right=not wrong)
        return task.solution if wrong else answer

    def hint(self, name: str) -> None:
        """Print the next hint; after the third, where the solution is."""
        hints, used = self._exercise(name).hints, self._entry(name)["read"]
        if used < len(hints):
            print(f"Hint {used + 1} of {len(hints)}: {hints[used]}")
            self._note(name, hints=1)
        else:
            print(*(f"Hint {n}: {hint}" for n, hint in enumerate(hints, 1)), sep="\n")
            print(f'That was the last one. The solution: lesson.solution("{name}")')

    def solution(self, name: str) -> None:
        """Print the solution."""
        print(self._exercise(name).source)
        self._note(name, shown=True)

    def score(self) -> DataFrame:
        """The table of the lesson: each prediction in its unit, each exercise with tries and hints."""
        import pandas as pd

        done = progress.read(self.key)
        rows = [("prediction", name, _number(p["guess"]), f"{_number(p['measured'])} {p['unit']}".strip(), p["result"])
                for name, p in done["predictions"].items()]  # fmt: skip
        for name, task in self.exercises.items():
            entry = self._entry(name)
            tries, hints = (f"{n} {word if n == 1 else words}" for n, word, words in
                            ((entry["tries"], "try", "tries"), (entry["hints"], "hint", "hints")))  # fmt: skip
            state = "open" if not entry["solved"] else "solved" if entry["right"] else "solved, now wrong"
            how = f"{tries}, {hints}" + (", solution read" if entry["shown"] else "")
            rows.append(("exercise", name, state, f"{task.level}, {task.minutes} minutes", how))
        print(tally(self.key, len(self.exercises)))
        table = pd.DataFrame(rows, columns=["", "what", "yours", "measured or level", "result"])
        return table.set_index("what").rename_axis(None)

    def forget(self) -> None:
        """Start this lesson anew: predictions and exercises."""
        progress.change(self.key, lambda entry: entry.update(exercises={}, predictions={}))

    def _exercise(self, name: str) -> Exercise:
        if name not in self.exercises:
            raise UserError(
                f"This lesson has the exercises {', '.join(self.exercises)}; got {name!r}. Correct the name."
            )
        return self.exercises[name]

    def _entry(self, name: str) -> dict:
        empty = {"tries": 0, "hints": 0, "solved": False, "shown": False}
        entry = empty | progress.read(self.key)["exercises"].get(name, {})
        return {"right": entry["solved"], "read": entry["hints"]} | entry

    def _note(self, name: str, tries: int = 0, hints: int = 0, shown: bool = False, right: bool | None = None) -> None:
        """Count until the exercise is solved. `right` (of the last answer) and `read` (of the hints) go on after it."""
        entry = self._entry(name)
        entry["read"] += hints
        if not entry["solved"]:
            entry["tries"] += tries
            entry["hints"] += hints
            entry["shown"] |= shown
        if right is not None:
            entry["right"] = right
            entry["solved"] |= right
        progress.change(self.key, lambda lesson: lesson["exercises"].update({name: entry}))


def tally(key: str, exercises: int) -> str:
    """One sentence: predictions that were close, exercises that are solved, also if another answer came later."""
    done = progress.read(key)
    guesses = done["predictions"].values()
    solved = sum(entry["solved"] for entry in done["exercises"].values())
    close = sum(guess["close"] for guess in guesses)
    return f"Predictions: {close} of {len(guesses)} close. Exercises: {solved} of {exercises} solved."


def course() -> DataFrame:
    """The map of the course, one row a lesson: question, minutes, what it needs, and how far you are."""
    import pandas as pd

    rows = []
    for number, about in enumerate(COURSE):
        words = tally(f"{number:02d}", len(Lesson(number).exercises))
        guesses, solved = (part.rstrip(".").partition(": ")[2] for part in words.split(". "))
        rows.append((f"{number:02d} {about.title}", about.question, about.minutes, about.needs, guesses, solved))
    columns = ["lesson", "question", "minutes", "needs", "predictions", "exercises"]
    return pd.DataFrame(rows, columns=columns).set_index("lesson")


def _is_stub(answer) -> bool:
    """Whether a function has no body yet: it does what `def f(): ...` does, return None."""

    def steps(function):
        return [(step.opname, step.argval) for step in dis.get_instructions(function)]

    return hasattr(answer, "__code__") and steps(answer) == steps(_empty)


def _empty():
    """No body."""
    ...


def _fits(guess, truth: float | str) -> bool:
    """Whether a guess is of the kind of what was measured: a word, or one finite number."""
    if isinstance(guess, str) or isinstance(truth, str):
        return isinstance(guess, str) and isinstance(truth, str)
    try:
        return math.isfinite(guess)
    except (TypeError, ValueError, RuntimeError):  # a list, a tensor of several values
        return False


def _compare(guess, truth, unit: str, within: float) -> tuple[str, bool]:
    if isinstance(truth, str):
        right = guess.strip().lower() == truth.lower()
        return ("right" if right else "wrong"), right
    off = abs(guess - truth)
    if not within:
        right = off == 0
        return ("right" if right else f"off by {_number(off)} {unit}".strip()), right
    close = off <= within or math.isclose(off, within)
    return f"off by {_number(off)} {unit}".strip() + (", close" if close else ""), close


def _number(x: float | str) -> str:
    if isinstance(x, str):
        return x
    return f"{x:.0f}" if float(x).is_integer() or abs(x) >= 1000 else f"{x:.3g}"
