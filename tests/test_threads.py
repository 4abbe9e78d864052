"""The number of threads is chosen by measured seconds. Here the clock is made up: no test depends on its machine."""

from itertools import cycle

import numpy as np
import pytest
import torch
from PIL import Image

import slerlib
from slerlib.inference import folders, threads
from slerlib.inference.threads import ALONE, GAIN, ROUNDS, Trial, fastest_threads
from slerlib.model import pointwise


@pytest.fixture(scope="module")
def net():
    return slerlib.load("tiny", "cpu")


def chosen(net, seconds: dict[int, float]) -> Trial:
    return fastest_threads(net, max(seconds), lambda count: alone(seconds[count]))


def alone(took: float) -> tuple[float, float]:
    """By the clock, and of the processor: each thread has a core to itself."""
    return took, took


@pytest.mark.parametrize(
    ("seconds", "count"),
    [
        ({1: 1.0, 2: 0.55, 4: 0.3, 8: 0.2}, 8),  # cores
        ({1: 1.0, 2: 0.55, 4: 0.3, 8: 0.29}, 4),  # 4 cores with two hardware threads each
        ({1: 1.0, 2: 0.97}, 1),  # one core with two
        ({1: 1.0, 2: 1.3, 4: 3.0}, 1),  # a container that gets one of four cores
        ({1: 1.0, 2: 0.96, 4: 0.93}, 4),  # two small gains that are one large enough
        ({1: 1.0, 2: 0.9, 4: 0.5, 6: 0.4}, 6),  # all cores are tried, also where they are not a power of two
        ({1: 1.0, 2: 1.0 / GAIN - 1e-6}, 2),
        ({1: 1.0, 2: 1.0 / GAIN + 1e-6}, 1),
    ],
)
def test_more_threads_are_taken_only_where_they_gain_enough(net, seconds, count):
    best, speeds, reason = chosen(net, seconds)
    assert f"2 threads {speeds[2]:.2f}" in reason
    assert best == count and speeds == {n: pytest.approx(1 / took) for n, took in seconds.items()}


def test_counts_take_turns_so_that_other_work_on_the_machine_hits_all_of_them(net):
    calls, slow = [], cycle([1, 1, 2, 2, 1, 3, 3, 1])  # a machine whose speed changes from turn to turn

    def seconds(count):
        calls.append(count)
        return alone(next(slow) * {1: 1.0, 2: 0.99}[count])

    assert fastest_threads(net, 2, seconds).count == 1
    assert calls == [1, 2] * (1 + ROUNDS)


def test_one_slow_round_changes_nothing(net):
    for usual, odd, count in ((0.98, 0.1, 1), (0.6, 7.0, 2)):
        took = {1: iter([9, 1, 1, 1, 1, 1]), 2: iter([9, usual, usual, odd, usual, usual])}
        assert fastest_threads(net, 2, lambda count, took=took: alone(next(took[count]))).count == count


@pytest.mark.parametrize("share", [0.3, ALONE - 0.01, ALONE + 0.01])
def test_a_busy_machine_says_nothing_about_threads(net, share):
    """There more threads win, since the system gives each of them a turn: 1.08 to 1.38 were measured on one core."""
    trial = fastest_threads(net, 2, lambda count: (1 / count, share / count))
    assert trial.count == (2 if share > ALONE else torch.get_num_threads()) and bool(trial.speeds) == (share > ALONE)
    assert ("other work" in trial.reason) == (share < ALONE)


def test_one_core_and_a_gpu_are_not_measured(net):
    assert fastest_threads(net, 1, lambda count: pytest.fail("measured")) == (1, {}, "not measured: one usable core")
    elsewhere = torch.nn.Linear(1, 1, device="meta")
    assert fastest_threads(elsewhere, 8, lambda count: pytest.fail("measured"))[:2] == (torch.get_num_threads(), {})


def test_the_network_is_run_with_each_count_and_torch_is_left_as_it_was(net, monkeypatch):
    seen = []
    monkeypatch.setattr(threads, "SIDE", 32)
    monkeypatch.setattr("slerlib.inference.restore.restore", lambda model, x: seen.append(torch.get_num_threads()))
    trial = fastest_threads(net, 2)
    assert seen == [1, 2] * (1 + ROUNDS) and torch.get_num_threads() == 1
    assert trial.count in (1, 2) and trial.speeds.get(1, 1) == 1  # {} where the machine is busy


def test_threads_come_back_after_an_error(net):
    def fails(count):
        torch.set_num_threads(2)
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        fastest_threads(net, 2, fails)
    assert torch.get_num_threads() == 1


@pytest.fixture
def picture(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (48, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "in.png")
    return tmp_path / "in.png"


def test_restore_takes_the_measured_count_and_says_it(run, picture, tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "fastest_threads", lambda model: Trial(2, {1: 1.0, 2: 1.5}, "twice"))
    code, out, err = run("restore", picture, tmp_path / "auto.png", "--threads", "auto")
    assert code == 0 and err == "" and torch.get_num_threads() == 2
    assert out.startswith("Threads: 2 (twice)\n")
    code, out, _ = run("restore", picture, tmp_path / "one.png", "--threads", 1)
    assert code == 0 and "Threads" not in out and torch.get_num_threads() == 1
    a, b = (np.asarray(Image.open(tmp_path / f"{name}.png")).astype(int) for name in ("auto", "one"))
    assert abs(a - b).max() <= (0 if pointwise._here() else 1)  # as docs/restoring.md states


def test_nothing_is_measured_before_the_input_is_checked(run, tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "fastest_threads", lambda model: pytest.fail("measured"))
    assert run("restore", tmp_path / "none.png", tmp_path / "out.png", "--threads", "auto")[0] == 1


@pytest.mark.parametrize("value", ["0", "many", "1.5"])
def test_a_wrong_number_of_threads_names_what_is_right(run, value):
    code, out, err = run("restore", "a.png", "b.png", "--threads", value)
    assert code == 2 and out == "" and "must be auto, or a number of at least 1" in err and value in err


def test_doctor_says_which_count_to_take(run, untrained, monkeypatch):
    monkeypatch.setattr(threads, "fastest_threads", lambda model: Trial(4, {}, "measured"))
    code, out, _ = run("doctor", "--checkpoint", untrained)
    line = next(line for line in out.splitlines() if line.startswith("fastest "))
    assert code == 0 and line.endswith("--threads 4 (measured)")
