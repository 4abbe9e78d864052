"""The command line: exit codes, one-paragraph errors, files left whole."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from slerlib import __version__, cli
from slerlib.cli import commands, doctor
from slerlib.config import CLASSES
from slerlib.data.sources import Sources
from slerlib.inference import restore as restoring

ROOT = Path(__file__).resolve().parent.parent
COMMANDS = ("doctor", "restore", "train", "ablate", "eval", "data", "report", "compare")


@pytest.fixture
def picture(tmp_path):
    """Path of a 40 x 24 PNG."""
    pixels = np.random.default_rng(0).integers(0, 256, (24, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "in.png")
    return tmp_path / "in.png"


def one_paragraph(text: str) -> bool:
    return text.startswith("slerlib: ") and text.count("\n") == 1 and "Traceback" not in text


@pytest.mark.parametrize("command", [*COMMANDS, "data check", "data list"])
def test_help_is_one_page_with_an_example(run, command):
    code, out, _ = run(*command.split(), "--help")
    assert code == 0 and f"slerlib {command}" in out.split("example:")[1]
    assert len(out.splitlines()) <= 40 and max(map(len, out.splitlines())) <= 120


def test_help_lists_exactly_the_commands_that_exist(run):
    _, out, _ = run("--help")
    for command in COMMANDS:
        assert f"  {command} " in out
    assert "data check" not in out


def test_the_version_is_that_of_the_package(run):
    assert run("--version")[:2] == (0, f"slerlib {__version__}\n")


@pytest.mark.parametrize(
    "args",
    [
        (),
        ("nonsense",),
        ("restore", "one"),
        ("eval", "tiny"),
        ("train", "tiny", "--threads", "0"),
        ("ablate", "sler", "--lr", "nan"),
        ("ablate", "sler", "--lr", "abc"),
        ("ablate", "sler", "--lr", "-1"),
        ("ablate", "sler", "--seeds", "-1"),
        ("eval", "tiny", "--data", "demo", "--seed", "-1"),
        ("restore", "a.png", "b.png", "--tile", "large"),
    ],
)
def test_a_wrong_command_line_is_exit_code_2(run, args):
    code, out, err = run(*args)
    assert code == 2 and "usage" in err and out == ""


@pytest.mark.parametrize(
    ("args", "facts"),
    [
        (("train", "huge"), ("huge", "tiny", "paper5")),
        (("ablate", "--recipe", "huge"), ("huge", "tiny")),
        (("ablate", "sler", "magic"), ("magic", "sler", "oracle")),
        (("eval", "tiny", "--data", "demo", "--setting", "best"), ("best", "cdd11", "pairs", "demo")),
        (("eval", "tiny", "--data", "demo", "--crop", "square"), ("square", "center16", "none")),
        (("eval", "tiny", "--data", "demo", "--noise", "loud"), ("loud", "promptir")),
        (("eval", "--data", "demo"), ("CHECKPOINT", "--restored")),
        (("eval", "tiny", "--data", "photos"), ("--setting", "pairs", "demo")),
        (("data",), ("check|list",)),
        (("data", "check"), ("DIR",)),
        (("data", "list", "somewhere"), ("somewhere",)),
        (("report", "evaluation", "-p", "images"), ("'images'", "-p images 2")),
        (("ablate", "dense", "--show"), ("--show tiny", "dense")),
        (("compare", "a.json", "b.json", "--data", "there"), ("--data", "--page")),
        (("compare", "a", "b", "--json", "--checkpoints", "a", "b", "--out", "x"), ("--checkpoints, --out", "--page")),
    ],
)
def test_wrong_usage_is_exit_code_2_and_names_what_is_right(run, args, facts):
    code, out, err = run(*args)
    assert code == 2 and out == "" and all(fact in err.splitlines()[-1] for fact in facts), err


def test_restore_a_file(run, picture, untrained, tmp_path):
    trace = tmp_path / "trace.json"
    code, out, err = run("restore", picture, tmp_path / "out.png", "--checkpoint", untrained, "--trace", trace)
    assert code == 0 and err == "" and "Restored 1 of 1" in out
    with Image.open(tmp_path / "out.png") as result:
        assert result.size == (40, 24)
    content = json.loads(trace.read_text())
    (image,) = content["images"]
    assert len(image["path"]) == len(image["margin"]) == len(content["layers"]) == 8
    assert np.shape(image["similarity"]) == (8, 3) and len(image["anchor_angle"]) == 8
    assert image["nearest_anchor"] == min(image["anchor_angle"], key=image["anchor_angle"].get)
    assert (image["width"], image["height"]) == (40, 24) and isinstance(image["flags"], list)
    assert content["checkpoint"]["sha256"] and content["failed"] == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.png", "out.png", "trace.json"]  # no temporary files


def test_restore_into_a_folder_and_in_tiles(run, picture, untrained, tmp_path):
    (tmp_path / "results").mkdir()
    whole = run("restore", picture, tmp_path / "whole.png", "--checkpoint", untrained, "--tile", 0)
    tiled = run("restore", picture, tmp_path / "results", "--checkpoint", untrained, "--tile", 64)
    assert whole[0] == tiled[0] == 0 and (tmp_path / "results" / "in.png").exists()


def test_restore_of_a_folder_names_the_broken_and_does_the_rest(run, picture, untrained, tmp_path):
    source, target = tmp_path / "source", tmp_path / "new" / "target"
    (source / "deep").mkdir(parents=True)
    picture.rename(source / "a.png")
    (source / "deep" / "b.JPG").write_bytes(b"")
    Image.new("RGB", (9, 7)).save(source / "deep" / "c.jpg")
    (source / "notes.txt").write_text("not an image")
    trace = tmp_path / "trace.json"
    code, out, err = run("restore", source, target, "--checkpoint", untrained, "--trace", trace)
    assert code == 1 and "Restored 2 of 3" in out and "notes.txt" in out
    assert ": 1\n" in err and "b.JPG" in err and "0 bytes" in err and "Traceback" not in err
    assert sorted(path.name for path in target.rglob("*.*")) == ["a.png", "c.jpg"]
    content = json.loads(trace.read_text())
    assert [Path(image["input"]).name for image in content["images"]] == ["a.png", "c.jpg"]
    assert len(content["failed"]) == 1


def test_results_inside_the_input_folder_are_not_restored_again(run, picture, untrained, tmp_path):
    for options, restored in [((), 1), ((), 0), (("--overwrite",), 1)]:
        code, out, _ = run("restore", tmp_path, tmp_path / "out", "--checkpoint", untrained, *options)
        assert code == 0 and f"Restored {restored} of 1" in out and ("--overwrite" in out) == (restored == 0)
    assert not (tmp_path / "out" / "out").exists()


def test_a_picture_too_large_for_the_memory_does_not_stop_the_others(run, picture, untrained, tmp_path, monkeypatch):
    restore = restoring.restore_batch

    def short_of_memory(model, x_BCHW, **options):
        if x_BCHW.shape[2] == 20:
            raise RuntimeError("can't allocate memory: you tried to allocate 9 bytes.\nFrames: ...")
        return restore(model, x_BCHW, **options)

    monkeypatch.setattr(restoring, "restore_batch", short_of_memory)
    source, trace = tmp_path / "photos", tmp_path / "t.json"
    source.mkdir()
    Image.new("RGB", (20, 20)).save(source / "a.png")
    picture.rename(source / "b.png")
    code, out, err = run("restore", source, tmp_path / "out", "--checkpoint", untrained, "--trace", trace)
    assert code == 1 and "Restored 1 of 2" in out and "a.png: RuntimeError can't allocate memory" in err
    assert "--tile" in err and "Frames" not in err and len(json.loads(trace.read_text())["images"]) == 1


def test_restore_keeps_originals_and_says_what_it_leaves_out(run, picture, untrained, tmp_path):
    """Hidden folders hold no photographs; a link among the results must not lead to an original."""
    source, target = tmp_path / "all" / "photos", tmp_path / "out"
    (source / ".originals").mkdir(parents=True)
    shutil.copy(picture, source / ".originals" / "in.png")
    Image.new("L", (20, 20)).save(source / "b.tiff", save_all=True, append_images=[Image.new("L", (20, 20))])
    before = picture.rename(source / "in.png").read_bytes()
    code, out, _ = run("restore", source, target, "--checkpoint", untrained)
    assert code == 0 and "Restored 2 of 2" in out and "b.tiff (The file has 2 frames" in out
    assert sorted(path.name for path in target.iterdir()) == ["b.tiff", "in.png"]
    (target / "in.png").unlink()
    (target / "in.png").symlink_to(source / "in.png")
    (tmp_path / "file").write_text("")
    for output, expected in [
        (target, "is a link to"),
        (tmp_path / "all", "must not hold the input folder"),
        (tmp_path / "file" / "deep", "Not a directory"),
    ]:
        code, out, err = run("restore", source, output, "--checkpoint", untrained)
        assert code == 1 and one_paragraph(err) and expected in err, err
    assert (source / "in.png").read_bytes() == before and [path.name for path in (tmp_path / "all").iterdir()] == [
        "photos"
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names of files are text")
def test_names_that_are_no_utf_8(untrained, tmp_path):
    """Photographs of an old disk: restored, scored, hashed for a training, and named."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for n in range(4):
        pixels = np.random.default_rng(n).integers(0, 256, (40, 40, 3), dtype=np.uint8)
        with open(os.fsencode(folder) + b"/\xe4%d.png" % n, "wb") as file:
            Image.fromarray(pixels).save(file, "PNG")
    assert len(Sources.of(folder).fingerprint()) == 64
    (folder / "\udcf6.txt").write_text("no image")
    environment = os.environ | {"PYTHONIOENCODING": "utf-8:strict", "PYTHONPATH": str(ROOT)}
    for args, expected in [
        (("restore", folder, tmp_path / "out", "--checkpoint", untrained), "such as "),
        (("eval", untrained, "--data", folder, "--setting", "demo", "--out", tmp_path / "e.json"), "noise25"),
    ]:
        command = [sys.executable, "-m", "slerlib", *map(str, args)]
        done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0 and expected in done.stdout and not done.stderr, done.stderr
    assert len(list((tmp_path / "out").iterdir())) == 4


def test_restore_refuses_what_cannot_work(run, picture, untrained, tmp_path):
    (tmp_path / "empty").mkdir()
    plain = shutil.copy(picture, tmp_path / "no_suffix")
    before = picture.read_bytes()
    for args, expected in [
        ((tmp_path / "none.png", tmp_path / "out.png"), "does not"),
        ((picture, picture), "must not be the input"),
        ((picture, tmp_path / "no" / "out.png"), "does not exist"),
        ((picture, tmp_path / "out.xyz"), "suffix"),
        ((picture, tmp_path / "out.png", "--tile", 7), "tile"),
        ((tmp_path, tmp_path / "out", "--tile", 7), "tile"),
        ((picture, tmp_path / "out.png", "--trace", tmp_path / "no" / "t.json"), "--trace"),
        ((picture, tmp_path / "out.png", "--trace", picture), "not a picture"),
        ((picture, tmp_path / "out.png", "--trace", tmp_path / "out.png"), "not a picture"),
        ((picture, tmp_path / "out.png", "--trace", tmp_path), "is a folder"),
        ((plain, tmp_path / "out.png", "--trace", plain), "--trace must not be the input"),
        ((tmp_path, tmp_path), "must not be the input folder"),
        ((tmp_path, picture), "is a file"),
        ((tmp_path / "empty", tmp_path / "out"), "holds none"),
        ((picture, tmp_path / "out.png", "--checkpoint", "nonsense"), "checkpoint"),
    ]:
        if "--checkpoint" not in args:
            args = (*args, "--checkpoint", untrained)
        code, out, err = run("restore", *args)
        assert code == 1 and one_paragraph(err) and expected in err, (args, err)
    assert picture.read_bytes() == Path(plain).read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "in.png", "no_suffix"]


def test_eval_refuses_a_file_for_its_scores_before_the_work(run, picture, tmp_path):
    before = picture.read_bytes()
    for out, expected in [(tmp_path, "is a folder"), (picture, "not a picture"), (tmp_path / "no" / "r.json", "exist")]:
        code, printed, err = run("eval", "none", "--data", "demo", "--setting", "demo", "--out", out)
        assert code == 1 and printed == "" and one_paragraph(err) and expected in err
    assert picture.read_bytes() == before


def test_the_line_to_try_a_training_can_be_pasted(run, monkeypatch, tmp_path):
    monkeypatch.setattr("slerlib.train.loop.train", lambda cfg, out, **options: out)
    out = tmp_path / "my first"
    printed = run("train", "tiny", "--out", out)[1]
    assert shlex.split(printed.split("Try it: ")[1])[-1] == str(out)


def test_train_hands_over_its_options(run, monkeypatch, tmp_path):
    seen = {}

    def train(cfg, **options):
        seen.update(options, cfg=cfg)
        return options["out"]

    monkeypatch.setattr("slerlib.train.loop.train", train)
    args = (
        "--out",
        tmp_path,
        "--set",
        "train.steps=7",
        "train.seed=3",
        "--set",
        "train.save_every=5",
        "--init",
        "tiny",
    )
    code, out, _ = run(
        "train", "tiny", *args, "--threads", 1, "--device", "cpu", "--resume", "--workers", 2, "--cache", 0.5
    )
    assert code == 0 and str(tmp_path) in out and (seen["workers"], seen["cache"]) == (2, 0.5)
    assert (seen["cfg"].train.steps, seen["cfg"].train.seed, seen["cfg"].train.save_every) == (7, 3, 5)
    assert {key: seen[key] for key in ("data", "out", "resume", "init", "device")} == {
        "data": None, "out": tmp_path, "resume": True, "init": "tiny", "device": "cpu"
    }  # fmt: skip
    assert torch.get_num_threads() == 1


@pytest.mark.parametrize(
    "args",
    [
        ("tiny", "--set", "train.stepz=2"),
        ("tiny", "--set", "train.seed=-1"),
        ("tiny", "--device", "abacus"),
        ("tiny", "--data", "/no/such"),
    ],
)
def test_train_refuses_what_cannot_work(run, args, tmp_path):
    code, _, err = run("train", *args, "--out", tmp_path / "out")
    assert code == 1 and one_paragraph(err), err


def test_eval_prints_means_and_writes_every_score(run, picture, untrained, tmp_path):
    for folder in ("input", "target"):
        (tmp_path / "data" / folder).mkdir(parents=True)
        shutil.copy(picture, tmp_path / "data" / folder / "one.png")
    out_file = tmp_path / "results.json"
    args = ("--data", tmp_path / "data", "--setting", "pairs", "--images", 1, "--seed", 3, "--out", out_file)
    code, out, err = run("eval", untrained, *args)
    assert code == 0 and err == "" and "no interval of the average: data with fewer than 5 images" in out
    assert str(out_file) in out
    content = json.loads(out_file.read_text())
    assert {"dataset", "task", "image", "psnr_input", "psnr", "ssim_input", "ssim", "ssim_gaussian"} <= set(
        content["rows"][0]
    )
    assert {"definition", "versions", "checkpoint", "means", "average", "missing"} <= set(content)


def test_eval_lets_the_library_refuse_test_sets_among_the_bundled_photographs(run, untrained):
    code, _, err = run("eval", untrained, "--data", "demo", "--setting", "5")
    assert code == 1 and one_paragraph(err) and "setting='5'" in err and "bundled" in err


def test_bundled_photographs_imply_their_setting(run, untrained, tmp_path):
    for name, more in (("short", ()), ("long", ("--setting", "demo"))):
        out = tmp_path / f"{name}.json"
        code, _, err = run("eval", untrained, "--data", "demo", "--images", 1, "--out", out, *more)
        assert code == 0 and all(line.startswith("evaluate: ") for line in err.splitlines())
    short, long = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("short", "long"))
    assert short["setting"] == long["setting"] == "demo" and short["average"] == long["average"]


def test_images_of_another_program_need_no_checkpoint(run, picture, untrained, tmp_path):
    (tmp_path / "photos").mkdir()
    results = tmp_path / "results"
    for task in CLASSES:
        (results / task).mkdir(parents=True)
        shutil.copy(picture, results / task / "in.png")
    picture.rename(tmp_path / "photos" / "in.png")
    args = ("--data", tmp_path / "photos", "--setting", "demo", "--restored", results)
    code, out, err = run("eval", *args)
    assert code == 0 and err == "" and "inf" in out
    code, again, err = run("eval", untrained, *args)
    assert code == 0 and again == out and f"{untrained} is not used" in err


def test_report_takes_pairs(run, monkeypatch, tmp_path):
    seen = []
    done = {"state": "done", "page": tmp_path / "index.html"}
    monkeypatch.setattr("slerlib.report.run", lambda *args, **options: seen.append(args) or [done])
    code, out, _ = run("report", "evaluation", "-p", "images", 2, "-p", "seed", -1, "severity", 0.5, "--out", tmp_path)
    assert code == 0 and out.strip() == str(tmp_path / "index.html")
    assert seen == [("evaluation", {"images": "2", "seed": "-1", "severity": "0.5"}, tmp_path, False)]


def test_report_refuses_an_unknown_name(run):
    code, _, err = run("report", "nonsense")
    assert code == 1 and one_paragraph(err) and "nonsense" in err


def test_an_unforeseen_error_is_one_paragraph_and_debug_shows_it(run, monkeypatch):
    def fail(_):
        raise RuntimeError("two\nlines")

    monkeypatch.setitem(commands.COMMANDS, "doctor", fail)
    code, _, err = run("doctor")
    assert code == 1 and one_paragraph(err) and "RuntimeError: two lines" in err and "--debug" in err
    for args in (("doctor", "--debug"), ("--debug", "doctor")):
        with pytest.raises(RuntimeError):
            cli.main(list(args))


def test_doctor_finds_everything_or_names_the_fix(run, untrained, monkeypatch):
    code, out, _ = run("doctor", "--checkpoint", untrained)
    assert code == 0 and out.rstrip().endswith("Everything works.")
    for part in ("python", "torch", "device", "dtype", "threads", "packages", "checkpoint", "restore", "disk"):
        assert f"\n{part} " in "\n" + out
    code, out, _ = run("doctor", "--checkpoint", "nonsense")
    assert code == 1 and "FAULT" in out and "nonsense" in out.splitlines()[-1]
    monkeypatch.setattr(doctor, "_IMPORTS", doctor._IMPORTS | {"scipy": "no_such_module"})
    code, out, _ = run("doctor", "--checkpoint", untrained)
    assert code == 1 and "missing: scipy" in out and "make report" in out.splitlines()[-1]


def test_doctor_notices_changed_weights(run, untrained, tmp_path):
    for name in ("card.json", "model.safetensors"):
        content = bytearray((untrained / name).read_bytes())
        content[-1] ^= name.endswith("tensors")
        (tmp_path / name).write_bytes(content)
    code, out, _ = run("doctor", "--checkpoint", tmp_path)
    assert code == 1 and "sha256" in out


def start(*args) -> subprocess.Popen:
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-m", "slerlib", *map(str, args)]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_python_m_slerlib_and_ctrl_c(tmp_path, untrained):
    """The real process: Ctrl-C during a training ends with 130 and without a traceback."""
    process = start("train", "tiny", "--out", tmp_path, "--set", "train.steps=100000", "train.save_every=100000")
    log, end = tmp_path / "log.jsonl", time.monotonic() + 60
    while not (log.exists() and log.stat().st_size) and process.poll() is None and time.monotonic() < end:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    try:
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, err
    assert "Traceback" not in err
