"""A training in a process of its own: it begins, goes on after a kill, is left alone, and says why it ended."""

import json
import shutil
import time
from dataclasses import replace

import psutil
import pytest
import torch
from trainings import SMALL, make, write_photographs

from slerlib import UserError, config, plots
from slerlib.train import background, lock, resuming


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_photographs(tmp_path_factory.mktemp("data") / "photographs")


def begin(out, data, steps):
    return background.start(
        "tiny", out, data, [*SMALL, "train.stage_a=0.2", "train.save_every=10", f"train.steps={steps}"], threads=1
    )


def test_it_survives_a_kill_and_ends_with_every_step_once(data, tmp_path, capsys):
    out = tmp_path / "run"
    assert begin(out, data, 3000).running
    assert begin(out, data, 3000).running  # left alone: a second process could not have the lock
    while not (out / "state.pt").is_file() or background.progress(out).step < 15:
        assert background.progress(out).running, (out / "console.txt").read_text()
        time.sleep(0.1)
    psutil.Process(int((out / "running.pid").read_text())).kill()
    while background.progress(out).running:
        time.sleep(0.05)
    state = background.progress(out)
    steps = state.step
    assert 15 <= steps < 3000 and 0 <= steps - state.saved <= 10
    assert state.state == "stopped" and str(state).endswith(f": stopped; saved at step {state.saved}")
    with open(out / "console.txt", "a") as console:  # what a short training prints, too few steps for a line of it
        console.write("step 15/3000  stage A  loss 1.0000  0.01 s/step\n")
    with pytest.raises(UserError, match=r"ended at step \d+ of 3000: it printed no reason, .* save, of step \d+"):
        background.follow(out)
    with pytest.raises(UserError, match="other settings"):
        begin(out, data, 40)
    assert begin(out, data, 3000).running
    saved = torch.load(out / "state.pt", weights_only=True)["step"]
    while background.progress(out).step < max(saved, steps) + 5:
        assert background.progress(out).running, (out / "console.txt").read_text()
        time.sleep(0.1)
    assert background.stop(out, patience=0).state == "stopped"
    log = background.read_log(out)
    assert log.step.tolist() == list(range(len(log))) and len(log) > steps
    assert "stage B" in capsys.readouterr().out or set(log.stage) == {"A"}


def test_a_finished_training_is_left_alone_and_drawn(data, tmp_path):
    out = tmp_path / "run"
    begin(out, data, 20)
    state = background.follow(out, every=0.1)
    assert state.done and state.step == 20 and state.stage == "C" and not state.running
    before = (out / "model.safetensors").stat().st_mtime_ns
    assert begin(out, data, 20).done and (out / "model.safetensors").stat().st_mtime_ns == before
    with pytest.raises(UserError, match="other data .*'photographs'.* bundled photographs differ"):
        begin(out, None, 20)
    fewer = shutil.copytree(data, tmp_path / "fewer")
    next(iter(sorted(fewer.iterdir()))).unlink()
    with pytest.raises(UserError, match="fewer differ"):
        begin(out, fewer, 20)
    assert (out / "model.safetensors").stat().st_mtime_ns == before
    looks = background.read_validation(out)
    assert looks.step.tolist() == [10, 20] and looks.rain.between(5, 60).all()
    figure = plots.training_curves(background.read_log(out), looks)
    assert "Loss over 20 steps" in figure.alt_text and "stages A from step 0, B from step 4" in figure.alt_text


def test_an_interrupt_ends_the_display_alone(data, tmp_path, capsys):
    out, looks = tmp_path / "run", []

    def interrupted(state):
        looks.append(state)
        if len(looks) > 2:
            raise KeyboardInterrupt

    begin(out, data, 3000)
    state = background.follow(out, every=0.1, show=interrupted)
    assert state.running and state.state == "running" and background.progress(out).running
    assert "You stopped the display alone. step" in capsys.readouterr().out
    ahead = background.progress(out).step + 3
    assert ahead <= background.follow(out, every=0.1, until=ahead).step < 3000
    background.stop(out)


def test_what_went_wrong_is_printed(tmp_path):
    out = tmp_path / "run"
    with pytest.raises(UserError, match="holds no training"):
        background.progress(out)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="writes into a folder"):
        background.start("tiny", tmp_path / "file")
    background.start("tiny", out, tmp_path / "nothing", SMALL)
    with pytest.raises(UserError, match=r"ended at step 0 of .*nothing"):
        background.follow(out, every=0.1)


def test_classes_that_the_data_bring_make_no_other_training():
    cfg = make()
    joined = replace(cfg, model=replace(cfg.model, classes=(*cfg.model.classes, "snow")))
    assert resuming.is_of(config.to_json(cfg), cfg) and resuming.is_of(config.to_json(joined), cfg)
    assert not resuming.is_of(config.to_json(joined), make("train.steps=13"))
    assert not resuming.is_of(config.to_json(cfg), joined) and not resuming.is_of("{", cfg)


def test_a_half_written_line_waits(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"train": {"steps": 9}}))
    whole = json.dumps({"step": 0, "stage": "A", "loss": 1.0})
    (tmp_path / "log.jsonl").write_text(f'{whole}\n{{"step": 1, "lo')
    assert background.progress(tmp_path).step == 1 and len(background.read_log(tmp_path)) == 1


def test_lookers_do_not_disturb_and_other_settings_are_refused(data, tmp_path):
    out = tmp_path / "run"
    begin(out, data, 3000)
    try:
        with pytest.raises(UserError, match="other settings"):
            begin(out, data, 40)
    finally:
        background.stop(out)
    assert not background.progress(out).running and not background.progress(out).done


def test_a_look_at_a_folder_leaves_it_as_it_is(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"train": {"steps": 9}}))
    assert not background.progress(tmp_path).running
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_alive_is_asked_of_the_lock_and_not_of_a_number(tmp_path):
    """The number of a process that lives, this one: the training that wrote it has ended, whatever the clocks show."""
    (tmp_path / "config.json").write_text(json.dumps({"train": {"steps": 9}}))
    with lock.hold(tmp_path, "A training"):
        assert background.progress(tmp_path).running
        with pytest.raises(UserError, match="this very process"):
            background.stop(tmp_path)
        number = (tmp_path / "running.pid").read_text()
    (tmp_path / "running.pid").write_text(number)
    assert not background.progress(tmp_path).running


def test_a_shipped_checkpoint_is_not_trained_over(untrained, tmp_path):
    folder = shutil.copytree(untrained, tmp_path / "weights")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(UserError, match="model.safetensors"):
        background.start("tiny", folder, None, SMALL)
    left = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "starting.lock"}
    assert left == before
