"""`benchmarks/train_small.sh`: started, stopped and gone on with, one part after the other."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch
from trainings import SMALL, make, records, write_photographs

from slerlib import checkpoint, config
from slerlib.train import loop
from slerlib.train.lock import is_held

SCRIPT = Path(__file__).resolve().parent.parent / "benchmarks" / "train_small.sh"
SETTINGS = [text for text in SMALL if not text.startswith(("train.steps", "train.save_every", "train.stage"))]


def begin(data, out, parts=1, **variables):
    """The script in a process of its own, at the size of the tests, from nothing."""
    env = {**os.environ, "PYTHON": sys.executable, "RECIPE": "tiny", "INIT": "", "STEPS": "12", "SAVE": "4",
           "NICE": "1", "SET": " ".join(SETTINGS), **variables}  # fmt: skip
    return subprocess.Popen(["bash", str(SCRIPT), str(data), str(out), str(parts)], env=env, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)  # fmt: skip


def weights(folder):
    return checkpoint.load_net(folder)[0].state_dict()


def test_a_training_is_stopped_and_goes_on_and_the_next_part_begins_where_it_ended(tmp_path):
    data, out = write_photographs(tmp_path / "data"), tmp_path / "out"
    part = out / "part1"
    process = begin(data, out)
    while process.poll() is None and not (part / "state.pt").exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    text, _ = process.communicate(timeout=60)
    assert process.returncode == 143 and "the same command goes on" in text
    assert not is_held(part), "no process of the training is left"
    assert not (part / "done").exists() and len([r for r in records(part) if "loss" in r]) < 12

    process = begin(data, out, parts=2)
    text, _ = process.communicate(timeout=180)
    assert process.returncode == 0 and text.rstrip().endswith(f"done: {out / 'part2'}"), text
    assert "going on at step" in text and (part / "done").exists()
    plain = config.recipe("tiny").train
    whole = make(f"train.stage_a={plain.stage_a}", f"train.stage_c={plain.stage_c}")
    loop.train(whole, data, tmp_path / "whole", progress=False)
    first, second = weights(part), weights(tmp_path / "whole")
    assert all(torch.equal(first[key], second[key]) for key in first)
    log = [r for r in records(part) if "loss" in r], [r for r in records(out / "part2") if "loss" in r]
    assert [[r["step"] for r in lines] for lines in log] == [list(range(12))] * 2
    assert {r["stage"] for r in log[1]} == {"C"}, "it begins with the weights of the first"


def test_two_processes_stop_together(tmp_path):
    data, out = write_photographs(tmp_path / "data"), tmp_path / "out"
    process = begin(data, out, PROCESSES="2")
    while process.poll() is None and not (out / "part1" / "state.pt").exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    text, _ = process.communicate(timeout=60)
    assert process.returncode == 143, text
    assert not is_held(out / "part1")
