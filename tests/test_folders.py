"""`slerlib restore` of a folder: every picture is restored or named, and no file is replaced without --overwrite."""

import errno
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import slerlib
from slerlib.errors import UserError
from slerlib.images import SUFFIXES, read_image, write_image
from slerlib.inference import ahead, folders, jobs, parts
from slerlib.inference import restore as restoring

ROOT = Path(__file__).resolve().parent.parent
HEIC = b"\0\0\0\x18ftypheic" + bytes(500)


def picture(path: Path, index: int = 0, mode: str = "RGB", **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(index).integers(0, 256, (24, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(path, **options)
    return path


@pytest.fixture
def folder(tmp_path):
    """Three PNG files, one of them in a sub-folder."""
    for index, name in enumerate(("a.png", "b.png", "deep/c.png")):
        picture(tmp_path / "in" / name, index)
    return tmp_path / "in"


@pytest.fixture
def restored(run, untrained, tmp_path):
    """restored(IN, OUT, options) -> (exit code, standard output, error output, trace)."""

    def call(source, target, *options):
        trace = tmp_path / "trace.json"
        code, out, err = run("restore", source, target, "--checkpoint", untrained, "--trace", trace, *options)
        return code, out, err, json.loads(trace.read_text()) if trace.exists() else None

    return call


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


# --- every picture is restored or named ---


def test_a_folder_of_a_phone(restored, tmp_path):
    source, target = tmp_path / "phone", tmp_path / "out"
    exif = Image.Exif()
    exif[274] = 6
    kinds = {"a.jpg": "JPEG", "c.jfif": "JPEG", "d.jpe": "JPEG", "e.jp2": "JPEG2000", "no_suffix": "JPEG"}
    kinds |= {"b.avif": "AVIF"} if ".avif" in SUFFIXES else {}
    kinds |= {"f.HEIC": "HEIF"} if ".heic" in SUFFIXES else {}
    for name, kind in kinds.items():
        picture(source / name, format=kind, **({"exif": exif} if name in ("a.jpg", "b.avif") else {}))
    (source / "broken.HEIC").write_bytes(HEIC)
    (source / "raw.CR2").write_bytes(b"raw")
    (source / "notes.txt").write_text("x")
    code, out, err, trace = restored(source, target)
    assert code == 1 and f"Restored {len(kinds)} of {len(kinds) + 2}" in out and "notes.txt" in out
    assert {Path(entry["input"]).name for entry in trace["images"]} == set(kinds)
    assert len(trace["failed"]) == 2 and [Path(path).name for path in trace["passed_over"]] == ["notes.txt"]
    for name in ("broken.HEIC", "raw.CR2"):
        assert name in err and any(name in fault for fault in trace["failed"])
    assert names(target) == sorted({*kinds, "no_suffix.png"} - {"no_suffix"})
    for name, kind in kinds.items():
        _, meta = read_image(target / name.replace("no_suffix", "no_suffix.png"))
        assert meta.format == ("PNG" if name == "no_suffix" else kind)


def test_a_format_that_is_only_read_becomes_png_without_a_clash(restored, tmp_path):
    source, target = tmp_path / "in", tmp_path / "out"
    frames = [Image.new("RGB", (20, 20), (value, 0, 0)) for value in (40, 200)]
    for name in ("IMG.gif", "IMG.ico", "other.gif"):
        picture(source / name)
    frames[0].save(source / "film.gif", save_all=True, append_images=frames[1:])
    picture(source / "IMG.png")
    expected = ["IMG.gif.png", "IMG.ico.png", "IMG.png", "film.png", "other.png"]
    code, _, _, trace = restored(source, target)
    assert code == 0 and names(target) == expected
    notes = {Path(entry["input"]).name: " ".join(entry["notes"]) for entry in trace["images"]}
    assert "IMG.gif.png" in notes["IMG.gif"] and "2 frames" in notes["film.gif"] and not notes["IMG.png"]
    code, out, _, trace = restored(source, target)
    assert code == 0 and "Restored 0 of 5" in out and len(trace["left"]) == 5 and names(target) == expected


def test_a_picture_that_its_format_cannot_hold_becomes_png(restored, tmp_path):
    source, target = tmp_path / "in", tmp_path / "out"
    picture(source / "clear.bmp", mode="RGBA", format="PNG")
    write_image(tmp_path / "deep.png", torch.rand(3, 20, 20), slerlib.images.Meta(depth=16))
    (tmp_path / "deep.png").rename(source / "deep.bmp")
    code, _, _, trace = restored(source, target)
    assert code == 0 and names(target) == ["clear.png", "deep.png"]
    assert read_image(target / "clear.png")[1].alpha is not None and read_image(target / "deep.png")[1].depth == 16
    assert all("cannot hold" in entry["notes"][0] for entry in trace["images"])


def test_an_unreadable_sub_folder_is_named(restored, folder, tmp_path, monkeypatch):
    scandir = os.scandir

    def locked(path):
        if str(path).endswith("deep"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", locked)
    code, out, err, trace = restored(folder, tmp_path / "out")
    assert code == 1 and "Restored 2 of 2" in out and "deep" in err and "Permission denied" in err
    assert "deep" in trace["failed"][0]


def test_a_link_to_a_missing_picture_is_named(restored, folder, tmp_path):
    (folder / "gone.png").symlink_to(tmp_path / "nowhere.png")
    code, out, err, _ = restored(folder, tmp_path / "out")
    assert code == 1 and "Restored 3 of 4" in out and "gone.png" in err


# --- nothing is replaced without --overwrite ---


def test_existing_files_are_left_and_overwritten_on_demand(restored, folder, tmp_path):
    target = tmp_path / "out"
    mine = picture(target / "a.png", 9).read_bytes()
    code, out, _, trace = restored(folder, target)
    assert code == 0 and "Restored 2 of 3" in out and "a.png" in out and (target / "a.png").read_bytes() == mine
    assert trace["left"] == [str(target / "a.png")]
    code, out, _, _ = restored(folder, target, "--overwrite")
    assert code == 0 and "Restored 3 of 3" in out and (target / "a.png").read_bytes() != mine


def test_originals_in_the_output_folder_are_named_and_kept(restored, folder, tmp_path):
    before = {name: (folder / name).read_bytes() for name in names(folder)}
    picture(folder / "deep" / "a.png", 7)
    kept = (folder / "deep" / "a.png").read_bytes()
    code, out, err, trace = restored(folder, folder / "deep")
    assert code == 1 and "Restored 1 of 2" in out and "c.png" in err and "c.png" in trace["failed"][0]
    assert trace["left"] == [str(folder / "deep" / "a.png")] and (folder / "deep" / "a.png").read_bytes() == kept
    assert all((folder / name).read_bytes() == data for name, data in before.items())


def test_single_files_are_not_replaced(restored, folder, tmp_path):
    for target in (tmp_path / "out.png", folder / "deep"):
        for options, expected in [((), 0), ((), 1), (("--overwrite",), 0)]:
            code, _, err, _ = restored(folder / "a.png", target, *options)
            assert code == expected and ("--overwrite" in err) == bool(expected)


def test_a_trace_may_replace_a_trace_alone(run, folder, untrained, tmp_path):
    diary = tmp_path / "diary.json"
    diary.write_text("{}")
    args = ("restore", folder, tmp_path / "out", "--checkpoint", untrained)
    code, out, err = run(*args, "--trace", diary)
    assert code == 1 and "diary.json" in err and "--overwrite" in err and diary.read_text() == "{}"
    assert not (tmp_path / "out").exists()
    for _ in range(2):
        assert run(*args, "--trace", tmp_path / "t.json")[0] == 0
    assert run(*args, "--trace", diary, "--overwrite")[0] == 0 and "images" in json.loads(diary.read_text())


# --- the disk ---


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_full_or_read_only_disk_ends_the_work_clearly(restored, folder, tmp_path, monkeypatch, number):
    from slerlib.images import files

    write = files.write_atomic

    def full(path, data):
        if path.name != "a.png":
            raise OSError(number, os.strerror(number))
        return write(path, data)

    monkeypatch.setattr(files, "write_atomic", full)
    code, out, err, trace = restored(folder, tmp_path / "out")
    assert code == 1 and "Restored 1 of 3" in out and names(tmp_path / "out") == ["a.png"]
    assert os.strerror(number) in err and "1 further" in err and len(trace["failed"]) == 2
    monkeypatch.undo()
    assert "Restored 2 of 3" in restored(folder, tmp_path / "out")[1]


def test_the_trace_is_tried_before_the_work(restored, folder, tmp_path, monkeypatch):
    def refuse(dir):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(jobs.tempfile, "TemporaryFile", refuse)
    code, _, err, _ = restored(folder, tmp_path / "out")
    assert code == 1 and "Permission denied" in err and not (tmp_path / "out").exists()


# --- read ahead and written behind ---


def test_the_next_picture_is_read_and_the_last_one_written_meanwhile(restored, folder, tmp_path, monkeypatch):
    """The network waits for both; so one picture after the other would never end."""
    read, written, threads, turns = threading.Semaphore(0), threading.Semaphore(0), set(), itertools.count(1)
    restore = restoring.restore_batch

    def reading(path):
        threads.add(threading.current_thread().name)
        read.release()
        return read_image(path)

    def writing(*args):
        threads.add(threading.current_thread().name)
        notes = write_image(*args)
        written.release()
        return notes

    def network(*args, **options):
        n = next(turns)
        for _ in range((2, 1, 0)[n - 1]):  # picture n + 1, and for the first its own
            assert read.acquire(timeout=60)
        assert n == 1 or written.acquire(timeout=60)  # picture n - 1
        return restore(*args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(ahead, "read_image", reading)
        patch.setattr(folders, "write_image", writing)
        patch.setattr(restoring, "restore_batch", network)
        code, _, _, trace = restored(folder, tmp_path / "out")
    assert code == 0 and [Path(entry["input"]).name for entry in trace["images"]] == ["a.png", "b.png", "c.png"]
    assert {name.partition("_")[0] for name in threads} == {"reader", "writer"}
    for name in names(folder):
        alone = tmp_path / f"alone_{Path(name).name}"
        assert restored(folder / name, alone)[0] == 0 and alone.read_bytes() == (tmp_path / "out" / name).read_bytes()


def test_large_and_unknown_pictures_wait_for_their_turn(folder, monkeypatch):
    (folder / "b.png").write_bytes(b"no picture")
    work = [(path, path.with_suffix(".jpg")) for path in sorted(folder.rglob("*.png"))]
    readings = [reading.result() for reading in ahead.read_ahead(work, False)]
    assert [(r.large, r.pixels is None) for r in readings] == [(False, False), (False, True), (False, False)]
    monkeypatch.setattr(ahead, "WHOLE_PIXELS", 24 * 40 - 1)
    readings = [reading.result() for reading in ahead.read_ahead(work, False)]
    assert [(r.large, r.pixels is None) for r in readings] == [(True, True), (False, True), (True, True)]


def test_faults_of_reading_and_writing_keep_their_order(restored, folder, tmp_path, monkeypatch):
    write = folders.write_image
    (folder / "b.png").write_bytes(b"no picture")
    (folder / "x\ny.png").write_bytes(b"no picture")
    picture(folder / "d.png", 3)

    def refuse(path, *args):
        if path.name == "a.png":
            raise UserError("A rule; a.png broke it. Mend it.")
        return write(path, *args)

    monkeypatch.setattr(folders, "write_image", refuse)
    code, out, error, trace = restored(folder, tmp_path / "out")
    assert code == 1 and "Restored 2 of 5" in out and names(tmp_path / "out") == ["d.png", "deep/c.png"]
    assert all(name in fault for name, fault in zip(("a.png", "b.png", "x\ny.png"), trace["failed"], strict=True))
    assert "x\\ny.png" in error and len(error.strip().splitlines()) == 4  # a line break in a name makes no new line


# --- one path ---


def test_one_path_for_the_frames_of_a_film(restored, folder, tmp_path):
    _, _, _, own = restored(folder, tmp_path / "own")
    _, _, _, one = restored(folder, tmp_path / "one", "--one-path")
    assert own["path"] is None and len(one["path"]) == 8
    assert {"".join(map(str, entry["path"])) for entry in one["images"]} == {one["path"]}
    _, _, _, forced = restored(folder, tmp_path / "forced", "--path", "01201120")
    assert forced["path"] == "01201120" and all(entry["path"] == [0, 1, 2, 0, 1, 1, 2, 0] for entry in forced["images"])


def test_the_common_path_is_that_of_most_pictures(untrained, folder, monkeypatch):
    from slerlib.inference.folders import common_path

    model = slerlib.load(untrained, "cpu")
    pictures = [read_image(file)[0] for file in sorted(folder.rglob("*.png"))]
    own = [tuple(slerlib.restore(model, x_CHW, return_trace=True)[1].path[0].tolist()) for x_CHW in pictures]
    assert [parts.own_path(model, x_CHW) for x_CHW in pictures] == own
    (folder / "broken.png").write_bytes(b"")
    files = [folder / name for name in ("a.png", "b.png", "broken.png", "deep/c.png")]
    for chosen, most in (("001", 0), ("010", 0), ("011", 1), ("210", 2)):
        paths = iter(chosen)
        monkeypatch.setattr(parts, "own_path", lambda *_, paths=paths: (int(next(paths)),) * 8)
        assert common_path(model, files) == (most,) * 8
    assert common_path(model, [folder / "broken.png"]) is None


def test_paths_are_refused_once_and_before_the_work(run, folder, untrained, tmp_path):
    code, out, err = run("restore", folder, tmp_path / "out", "--checkpoint", untrained, "--path", "0129")
    assert code == 1 and out == "" and err.count("\n") == 1 and "0129" in err and not (tmp_path / "out").exists()
    assert run("restore", folder, tmp_path / "out", "--path", "0" * 8, "--one-path")[0] == 2


# --- killed ---


@pytest.mark.long
def test_kills_leave_no_half_written_file(folder, untrained, tmp_path):
    """20 kills at random moments, every second one with two processes in one folder; then the work is finished."""
    for index in range(30):
        picture(folder / f"{index}.png", index)
    target, rng, cut = tmp_path / "out", random.Random(0), 0
    command = [sys.executable, "-m", "slerlib", "restore", folder, target, "--checkpoint", untrained]
    options = {
        "env": os.environ | {"PYTHONPATH": str(ROOT)},
        "stdout": subprocess.DEVNULL,
        "stderr": subprocess.DEVNULL,
    }
    for number in range(20):
        for path in target.rglob("*.png") if target.exists() else ():
            path.unlink()
        processes = [subprocess.Popen(command, **options) for _ in range(1 + number % 2)]
        end = time.monotonic() + 60
        while not (target.exists() and names(target)) and time.monotonic() < end:
            time.sleep(0.01)
        time.sleep(rng.random())
        for process in processes:
            process.send_signal(signal.SIGKILL)
        for process in processes:
            cut += process.wait() == -signal.SIGKILL
        for name in names(target):
            if not name.rpartition("/")[2].startswith("."):
                assert read_image(target / name)[0].shape == (3, 24, 40)
    assert cut >= 20
    assert subprocess.run(command, **options).returncode == 0
    assert [name for name in names(target) if not name.startswith(".")] == names(folder)
