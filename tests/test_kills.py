"""Trainings and ablations killed at random moments, two processes at once among them: every file stays whole."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest
import torch
from safetensors.torch import load
from trainings import SMALL, make, records, start, write_photographs

from slerlib import checkpoint
from slerlib.train import loop

pytestmark = pytest.mark.long
KILLS, SECONDS = 20, 8.0

ABLATE = """
import sys
from slerlib import config
from slerlib.ablation import run

recipe, values = config.recipe, sys.argv[4].split()
config.recipe = lambda name: config.with_overrides(recipe(name), values)
budget = run.Budget(stage_a=4, steps=8, images=1, pairs=1)
run.ablate(sys.argv[1], sys.argv[2], sys.argv[3], ["sler", "modal_paths", "dense_steps"], (0,), budget)  # equal steps
"""


def killed(process, seconds: float) -> bool:
    """Whether the process still ran after so many seconds, and was killed."""
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
    process.communicate()
    return process.returncode == -signal.SIGKILL


def wait(processes, out, kills, random_) -> None:
    """Until some moment of the work; after every fourth kill, of the start."""
    while kills % 4 < 3 and any(process.poll() is None for process in processes):
        pid = out / "running.pid"
        if pid.exists() and pid.read_text() in [str(process.pid) for process in processes]:
            break
        time.sleep(0.02)
    time.sleep(random_.uniform(0, SECONDS))


def whole(folder) -> None:
    """Every file of a training can be read, and weights and state belong to a save."""
    if (folder / "state.pt").exists():
        assert torch.load(folder / "state.pt", weights_only=True)["step"] > 0
    if (folder / "card.json").exists():
        json.loads((folder / "card.json").read_text())
    if (folder / "model.safetensors").exists():
        load((folder / "model.safetensors").read_bytes())
    if (folder / "log.jsonl").exists():
        lines = (folder / "log.jsonl").read_text().splitlines()
        steps = [json.loads(line).get("step") for line in lines[:-1]]  # the last line may be cut
        assert steps == sorted(steps)


def test_twenty_kills_of_a_training(tmp_path):
    """Every second time another process tries the same folder. The end has the bits of an undisturbed one."""
    data, out, random_ = write_photographs(tmp_path / "data"), tmp_path / "run", random.Random(0)
    values = ["train.steps=48", "train.save_every=2"]
    undisturbed = loop.train(make(*values), data, tmp_path / "whole", progress=False)
    kills = saved = doubles = lost = ends = 0
    while kills < KILLS:
        resume = (out / "state.pt").exists()
        processes = [start(data, out, *values, resume=resume) for _ in range(1 + kills % 2)]
        wait(processes, out, kills, random_)
        doubles += len(processes) > 1
        for process in processes:
            kills += killed(process, 0)
        whole(out)
        step = torch.load(out / "state.pt", weights_only=True)["step"] if (out / "state.pt").exists() else 0
        assert step >= saved  # what was saved is never lost
        lost, saved = lost + (step == saved), step
        if kills >= KILLS or step == 48:  # it ends like the undisturbed one, and another begins
            loop.train(make(*values), data, out, resume=saved > 0, progress=False)
            first, second = (checkpoint.load_net(folder)[0].state_dict() for folder in (undisturbed, out))
            assert all(torch.equal(first[key], second[key]) for key in first)
            assert [r["step"] for r in records(out) if "loss" in r] == list(range(48))
            assert not list(out.glob(".*.part"))
            out, saved, ends = tmp_path / f"run{kills}", 0, ends + 1
    print(
        f"training: {kills} kills, {lost} before another save, {doubles} double starts, {ends} ends, all the same bits"
    )


def test_twenty_kills_of_an_ablation(tmp_path):
    data, random_ = write_photographs(tmp_path / "data"), random.Random(1)
    values = " ".join([*(v for v in SMALL if "steps" not in v and "stage_" not in v), "data.anchor_scenes=2"])

    def ablate(out):
        command = [sys.executable, "-c", ABLATE, str(data), str(data), str(out), values]
        return subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"},
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)  # fmt: skip

    undisturbed = ablate(tmp_path / "whole")
    printed = undisturbed.communicate(timeout=600)[0]
    assert undisturbed.returncode == 0, printed
    out, kills, doubles, done = tmp_path / "out", 0, 0, 0
    while kills < KILLS:
        processes = [ablate(out) for _ in range(1 + kills % 2)]
        wait(processes, out, kills, random_)
        doubles += len(processes) > 1
        for process in processes:
            kills += killed(process, 0)
        for folder in out.glob("*/"):
            whole(folder)
        if (out / "budget.json").exists():
            json.loads((out / "budget.json").read_text())
        table = pd.read_csv(out / "ablations.csv") if (out / "ablations.csv").exists() else ()
        assert len(table) >= done
        done = len(table)
        if done == 3 * 8:  # all rows are there: begin anew, in a folder of its own
            out, done = tmp_path / f"out{kills}", 0
    last = ablate(out)
    printed = last.communicate(timeout=600)[0]
    assert last.returncode == 0, printed
    columns = ["variant", "seed", "task", "psnr", "steps_done"]
    first, second = (pd.read_csv(folder / "ablations.csv")[columns] for folder in (tmp_path / "whole", out))
    pd.testing.assert_frame_equal(first, second)
    print(f"ablation: {kills} kills, {doubles} double starts")
