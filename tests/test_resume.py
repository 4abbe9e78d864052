"""A training killed at any moment goes on as if nothing had happened."""

import random
import signal
import time

import torch
from trainings import make, records, start, write_photographs

from slerlib import checkpoint
from slerlib.train import lock, loop

DIES_SAVING = """
import os, signal

replace, count = os.replace, 0

def dying(old, new):
    global count
    count += str(new).endswith(("state.pt", "model.safetensors", "card.json"))
    if count > {before}:
        os.kill(os.getpid(), signal.SIGKILL)
    replace(old, new)

os.replace = dying
"""


def test_sigkill_at_any_moment_changes_nothing(tmp_path):
    """Once while it trains, at a random step, and once in the middle of a save, before a random one of its files."""
    data, out = write_photographs(tmp_path / "data"), tmp_path / "killed"
    whole = loop.train(make(), data, tmp_path / "whole", progress=False)

    step = random.randrange(1, 11)
    process = start(data, out)
    while process.poll() is None and not _logged(out, step):
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    # a resumed run writes weights and card at once, then as every run three files a save
    resume = (out / "state.pt").exists()
    files = random.randrange(3) + 2 * resume
    process = start(data, out, code=DIES_SAVING.format(before=files), resume=resume)
    process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL

    loop.train(make(), data, out, resume=(out / "state.pt").exists(), progress=False)
    first, second = (torch.load(folder / "state.pt", weights_only=True) for folder in (whole, out))
    assert _same(first, second), f"killed at step {step} and before file {files} of the saves"
    assert [r["step"] for r in records(out) if "loss" in r] == list(range(12))
    assert _same(*(checkpoint.load_net(folder)[0].state_dict() for folder in (whole, out)))


def test_a_killed_writer_leaves_nothing_and_a_file_of_the_user_stays(tmp_path):
    left, mine = tmp_path / f".{'0f' * 16}.part", tmp_path / ".mine.part"
    left.write_text("half")
    mine.write_text("whole")
    lock.sweep(tmp_path)
    assert not left.exists() and mine.read_text() == "whole"


def _logged(out, step: int) -> bool:
    log = out / "log.jsonl"
    return log.exists() and f'"step": {step},' in log.read_text()


def _same(a, b) -> bool:
    """Equal to the bit, durations aside."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a if key != "seconds")
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(_same, a, b))
    return a == b


def test_a_torn_line_of_the_log_is_dropped(tmp_path):
    data, out = write_photographs(tmp_path / "data"), tmp_path / "run"
    loop.train(make("train.steps=4"), data, out, progress=False)
    with open(out / "log.jsonl", "a") as log:
        log.write('{"step": 4, "validation": {"rain": 20.5}')  # cut between the two brackets
    loop.train(make("train.steps=4"), data, out, resume=True, progress=False)
    assert [r["step"] for r in records(out) if "loss" in r] == [0, 1, 2, 3]  # records() reads every line
