"""The room of the course: exercises and their checks, hints, predictions, the table, progress on disk."""

import importlib
import json
import re
from pathlib import Path

import pytest
import torch
from wrong_answers import WRONG

import slerlib
from slerlib import lessons
from slerlib.lessons import plan, progress
from slerlib.lessons.exercise import Exercise, run, same

ALL = {name: task for n in range(10) for name, task in lessons.Lesson(n).exercises.items()}
each = pytest.mark.parametrize("name", ALL)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("SLERLIB_COURSE", str(tmp_path / "course"))
    return tmp_path / "course"


def empty(task: Exercise):
    """The function of the stub."""
    space = {}
    exec(task.stub, space)
    return space[task.name]


def test_every_lesson_has_three_exercises():
    for tasks in (lessons.Lesson(n).exercises.values() for n in range(10)):
        bodies = [len(task.source.splitlines()) - len(task.stub.splitlines()) + 1 for task in tasks]
        assert len(bodies) >= 3 and max(bodies) >= 5, bodies
    assert sum(len(lessons.Lesson(n).exercises) for n in range(10)) == len(ALL), "two exercises have one name"


@each
def test_the_check_takes_the_solution(name):
    assert ALL[name].problem(ALL[name].solution) is None


@each
def test_the_check_names_the_broken_rule_and_shows_where(name):
    wrongs = []
    for answer, words in WRONG[name]:
        wrong = ALL[name].problem(answer)
        assert wrong is not None and re.search(words, wrong.rule), (words, wrong)
        assert wrong.example.strip() and wrong.example.endswith((".", "?", ")")), wrong
        wrongs.append(wrong.rule)
    assert len(set(wrongs)) >= 4, wrongs


@each
def test_what_a_learner_reads_is_short_and_complete(name):
    task = ALL[name]
    assert len(task.source.splitlines()) <= 20 and len(task.stub.splitlines()) <= 6
    assert len(set(task.hints)) == 3 and 3 <= task.minutes <= 15
    assert task.stub.startswith(f"def {name}(") and task.stub.endswith("    ...")


@each
@pytest.mark.parametrize("answer", [lambda *any: None, lambda: 1, 3, lambda *any: "text", lambda *any: [[1], [2, 3]]])
def test_no_answer_ends_in_a_traceback(name, answer):
    assert ALL[name].problem(answer) is not None


def test_a_path_of_three_digits_is_refused_in_plain_words():
    wrong = ALL["best_neighbour"].problem(lambda path, experts, score: path[:3])
    assert wrong.rule == "A path has one expert for each layer." and "with 3 numbers" in wrong.example


def test_a_factor_that_rounds_is_refused_with_its_reason():
    wrong = ALL["choice_factor"].problem(lambda p: 1 + p - p.detach())
    assert "rounded before p is taken away" in wrong.rule and re.search(
        r"For p = 0\.\d+ it is 1 [+-]\de-", wrong.example
    )


def test_haze_that_stays_is_shown_as_a_picture():
    wrong = ALL["undo_haze"].problem(lambda hazy, arrives, veil: hazy - veil)
    assert [title for title, _ in wrong.pictures] == ["hazy", "yours", "clean"]


def test_a_picture_of_any_shape_breaks_no_message(monkeypatch):
    monkeypatch.setattr("IPython.display.display", lambda fig: None)
    for answer in (lambda *x: torch.zeros(8, 8, 3), lambda *x: torch.zeros(0, 3), lambda *x: x[0][None]):
        for number, name in ((1, "add_noise"), (1, "undo_haze"), (1, "damaged_where"), (3, "high_pass")):
            lesson = lessons.Lesson(number)
            assert lesson.check(name, answer) is lesson.exercises[name].solution


def test_the_place_of_the_largest_error_is_named():
    with pytest.raises(Exception, match=r"In a test: at \(1, 0\) yours is 5, right is 3\."):
        same("A rule.", torch.tensor([[1.0, 2.0], [5.0, 4.0]]), [[1, 2], [3, 4]], case="In a test")
    with pytest.raises(Exception, match=r"in line 2 of your cell: ZeroDivisionError: division by zero"):
        run(_broken(), 1)


def _broken():
    space = {}
    exec(compile("def f(x):\n    return x / 0", "cell", "exec"), space)
    return space["f"]


# --- what the notebook calls


@each
def test_a_stub_is_no_try_and_the_lesson_goes_on_with_the_solution(name, capsys):
    lesson = next(lesson for lesson in map(lessons.Lesson, range(10)) if name in lesson.exercises)
    assert lesson.check(name, empty(ALL[name])) is ALL[name].solution
    assert f'lesson.hint("{name}")' in capsys.readouterr().out and "0 tries" in lesson.score().loc[name, "result"]


def test_an_answer_that_returns_a_constant_is_a_try(capsys):
    space = {}
    exec('def corners(k):\n    """Points."""\n    return 5', space)
    lesson = lessons.Lesson(2)
    lesson.check("corners", space["corners"])
    assert capsys.readouterr().out.startswith("Not yet.") and "1 try" in lesson.score().loc["corners", "result"]


def test_the_solution_that_the_lesson_went_on_with_is_no_answer(capsys):
    lesson = lessons.Lesson(0)
    left = lesson.check("pixel_error", lambda psnr: psnr)
    assert lesson.check("pixel_error", left) is left
    assert "Write `pixel_error` above" in capsys.readouterr().out
    assert lesson.score().loc["pixel_error", ["yours", "result"]].tolist() == ["open", "1 try, 0 hints"]


def test_tries_and_hints_count_until_it_is_solved(capsys):
    lesson = lessons.Lesson(4)
    task = lesson.exercises["clipped"]
    assert lesson.check("clipped", lambda gradients, limit: gradients) is task.solution
    assert capsys.readouterr().out.startswith(
        "Not yet. All tensors together are at most `limit` long.\nLengths 3 and 4"
    )
    for n in (1, 2, 3):
        lesson.hint("clipped")
        assert f"Hint {n} of 3: {task.hints[n - 1]}" in capsys.readouterr().out
    lesson.hint("clipped")
    assert 'lesson.solution("clipped")' in capsys.readouterr().out

    def mine(gradients, limit):
        return task.solution(gradients, limit)

    assert lesson.check("clipped", mine) is mine
    assert lesson.score().loc["clipped", "yours"] == "solved"
    lesson.check("clipped", lambda gradients, limit: gradients)
    row = lesson.score().loc["clipped"]
    assert (row["yours"], row["result"]) == ("solved, now wrong", "2 tries, 3 hints")
    lesson.check("clipped", mine)
    assert lesson.score().loc["clipped", "yours"] == "solved"
    lesson.solution("clipped")
    assert "def clipped(gradients, limit):" in capsys.readouterr().out
    assert "solution read" not in lesson.score().loc["clipped", "result"], "read after it was solved"


def test_hints_go_on_after_the_exercise_is_solved(capsys):
    lesson = lessons.Lesson(0)
    hints = lesson.exercises["pixel_error"].hints
    lesson.hint("pixel_error")
    lesson.check("pixel_error", lambda psnr: 10 ** (-psnr / 20))
    capsys.readouterr()
    for n in (2, 3):
        lesson.hint("pixel_error")
        assert capsys.readouterr().out == f"Hint {n} of 3: {hints[n - 1]}\n"
    assert lesson.score().loc["pixel_error", "result"] == "1 try, 1 hint", "counted until it was solved"


def test_progress_of_an_earlier_version_is_read(folder):
    folder.mkdir()
    entry = {"tries": 2, "hints": 1, "solved": True, "shown": False}
    (folder / "course.json").write_text(json.dumps({"04": {"exercises": {"clipped": entry}, "predictions": {}}}))
    assert lessons.Lesson(4).score().loc["clipped", ["yours", "result"]].tolist() == ["solved", "2 tries, 1 hint"]


def test_a_list_that_is_changed_inside_is_named():
    def filled(parts):
        parts[0][1] = 1.0
        return parts

    with pytest.raises(Exception, match=r"stay as they are\. Your function changed \[\[None, None\]\] in place"):
        run(filled, [[None, None]])
    with pytest.raises(Exception, match=r"changed tensor \(2, 4\) in place"):
        run(lambda x: x.add_(1), torch.zeros(2, 4))


def test_pictures_of_a_counter_example_are_displayed(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    lessons.Lesson(1).check("undo_haze", lambda hazy, arrives, veil: hazy - veil)
    assert "yours" in shown[0].alt_text


def test_a_guess_is_scored_in_its_unit_and_the_first_one_counts(capsys, folder):
    lesson = lessons.Lesson(4)
    lesson.predict("speed", None, 7.25, "steps a second")
    assert capsys.readouterr().out == "speed: measured 7.25 steps a second (no guess).\n"
    lesson.predict("speed", 10, 7.25, "steps a second", within=3)
    assert capsys.readouterr().out == (
        "speed: guess 10 steps a second, measured 7.25 steps a second: off by 2.75 steps a second, close.\n"
    )
    lesson.predict("speed", 7.25, 7.25, "steps a second", within=3)
    lesson.predict("kind", "Rain", "rain")
    lesson.predict("kind", 3, "rain")
    assert "A guess is a word in quotes here; yours is 3." in capsys.readouterr().out
    for odd in ([1, 2], torch.ones(2), float("nan"), "many"):
        lesson.predict("count", odd, 5)
        assert "A guess is a number here" in capsys.readouterr().out
    lesson.predict("count", torch.tensor(4), 5)
    table = lesson.score()
    assert "Predictions: 2 of 3 close. Exercises: 0 of 4 solved." in capsys.readouterr().out
    assert table.loc["speed", "result"] == "off by 2.75 steps a second, close" and table.loc["speed", "yours"] == "10"
    assert lessons.course().loc["04 Train", ["predictions", "exercises"]].tolist() == ["2 of 3 close", "0 of 4 solved"]
    assert set(json.loads((folder / "course.json").read_text())["04"]["predictions"]) == {"speed", "kind", "count"}
    lesson.forget()
    assert "Predictions: 0 of 0" in (lesson.score(), capsys.readouterr().out)[1]


def test_wrong_names_and_numbers_are_refused():
    with pytest.raises(slerlib.UserError, match="from 0 to 9; got 10"):
        lessons.Lesson(10)
    with pytest.raises(slerlib.UserError, match="restoration_loss, learning_rate, clipped, adamw; got 'clip'"):
        lessons.Lesson(4).check("clip", lambda: 0)


# --- progress


def test_progress_outlives_a_kernel_and_a_damaged_file_is_refused(folder):
    lessons.Lesson(0).check("pixel_error", lambda psnr: 10 ** (-psnr / 20))
    assert lessons.Lesson(0).score().loc["pixel_error", "yours"] == "solved"
    (folder / "course.json").write_text("{")
    with pytest.raises(slerlib.UserError, match="progress of the course.*not valid JSON.*Delete it"):
        lessons.Lesson(0).score()


@pytest.mark.parametrize(
    "lesson", [{}, [], {"exercises": {}, "predictions": {"speed": {"guess": 1}}}, {"exercises": 3, "predictions": {}}]
)
def test_a_damaged_lesson_is_refused_by_name(folder, lesson):
    folder.mkdir()
    (folder / "course.json").write_text(json.dumps({"04": lesson}))
    with pytest.raises(slerlib.UserError, match="damaged: 04. Delete it"):
        lessons.Lesson(4).score()


def test_a_disk_that_takes_no_file_is_a_warning(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SLERLIB_COURSE", str(tmp_path / "file" / "below"))
    with pytest.warns(UserWarning, match="takes no file .* Set SLERLIB_COURSE"):
        lessons.Lesson(0).predict("x", 1, 1)
    lessons.Lesson(0).predict("y", 1, 1)
    assert len(progress.read("00")["predictions"]) == 2, "kept in memory"


def test_progress_lies_outside_the_clone_by_default(monkeypatch, tmp_path):
    monkeypatch.delenv("SLERLIB_COURSE")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert progress.file() == tmp_path / "slerlib" / "course.json"
    monkeypatch.delenv("XDG_DATA_HOME")
    assert progress.file() == Path.home() / ".local" / "share" / "slerlib" / "course.json"


def test_the_index_names_every_file_of_the_room():
    room = Path(lessons.__file__).parent
    assert {path.name for path in room.glob("*.py")} - {"__init__.py"} == set(
        re.findall(r"\b\w+\.py\b", lessons.__doc__)
    )
    assert all(importlib.import_module(f"slerlib.lessons.{about.module}") for about in plan.COURSE)


def test_questions_fit_into_a_column_of_pandas():
    assert all(len(about.question) <= 50 for about in plan.COURSE)


def test_a_result_of_another_kind_is_named():
    task = lessons.Lesson(3).exercises["nearest"]
    wrong = task.problem(lambda z, pins: ([0], [1.0]))
    assert wrong.example == "Yours is a list; a tensor of torch is asked for."
    wrong = ALL["corners"].problem(lambda k: ALL["corners"].solution(k).numpy())
    assert wrong.example == "Yours is a numpy.ndarray; a tensor of torch is asked for."


def test_an_error_inside_a_factor_is_named_with_its_line():
    space = {}
    exec(compile("def choice_factor(p):\n    return p / p.numpy()", "cell", "exec"), space)
    wrong = ALL["choice_factor"].problem(space["choice_factor"])
    assert wrong.rule == "The function runs." and "in line 2 of your cell: RuntimeError" in wrong.example


def test_answers_of_single_precision_are_right():
    def interval(gaps, t):
        gaps = torch.tensor(gaps)
        half = t * gaps.std() / len(gaps) ** 0.5
        return gaps.mean(), gaps.mean() - half, gaps.mean() + half

    assert ALL["interval"].problem(interval) is None


def test_black_and_white_are_reported_apart():
    wrong = ALL["add_noise"].problem(lambda x, sigma, n: (x + sigma / 255 * n).clamp(max=1))
    assert wrong.example.startswith("On a black picture yours goes down to -0.")
