"""The course: what its ten notebooks share - predictions, exercises with checks, progress - and their exercises.

    from slerlib import lessons
    lesson = lessons.Lesson(4)
    lesson.predict("steps a second", my_guess, per_second, within=3)
    clipped = lesson.check("clipped", clipped)
    lesson.score()
    lessons.watch(folder, degraded, clean)      # a training in another process, while it runs
    lessons.course()        # all lessons, and how far you are

Read in this order:

    lesson.py         what a notebook calls
    exercise.py       what an exercise is, and what its check is made of
    live.py           a training while it runs: curves, and a picture restored by its last save
    progress.py       the file that keeps what you have done, outside the notebooks
    plan.py           the ten lessons
    start.py degradations.py sphere.py building.py training.py       the exercises of lessons 00 to 04
    evaluating.py maps.py usage.py ablations.py processes.py         and of 05 to 09
"""

from .lesson import Lesson, course
from .live import watch

__all__ = ["Lesson", "course", "watch"]
