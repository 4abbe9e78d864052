"""Hostile input from a seed: each case is one file, text or folder, given to the function that reads it.

An outcome is one of: handled (read), refused (a UserError), crashed (another exception), lost (more than 10 s of
processor time, a minute in which nothing ends, or 1 GB).
"""

import contextlib
import io
import json
import os
import random
import resource
import signal
import string
import traceback
from collections import Counter
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

from slerlib import config
from slerlib.ablation import tables
from slerlib.checkpoint import load_net
from slerlib.data import check
from slerlib.errors import UserError
from slerlib.evaluation.results import read_run
from slerlib.images import read_image, strips
from slerlib.inference.jobs import check_trace, plan
from slerlib.report import manifest, record

SECONDS, WAIT, BYTES = 10, 60, 1 << 30  # processor time, and time in which a case may wait for another program
ODD_VALUES = [None, True, -1, 0, 1e7, 1e400, -0.0, 10**30, "", "x", "\x1b[31m", "NaN"]
ODD_VALUES += [[], {}, [[]], [1] * 50, {"a": {}}]
NUMBERS = (b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"\0\0\xff\xff")
FOLDERS = ("train", "test", "gt", "rainy", "input", "target", "blur", "sharp", "a" * 200, "\x1b[1m", ".hid")
ODD_NAMES = ["\x1b[2J.png", "a" * 250 + ".png", "\udcff\udcfe.png", ".png", "名.png", "a\nb.png", "CON.png", "-rf.png"]


class Lost(BaseException):
    """Time is up; no `except Exception` takes it."""


# --- one case


def peak(anew: bool = False) -> int:
    """Most bytes of memory of this process so far, on Linux since it was counted `anew`: else an earlier peak hides a
    later one."""
    with contextlib.suppress(OSError):
        if anew:
            Path("/proc/self/clear_refs").write_text("5")
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def outcome(run) -> tuple[str, str]:
    """(how a call ended, why)."""

    def late(*_):
        raise Lost(f"more than {SECONDS} s of work or {WAIT} s in all")

    before = peak(anew=True)
    old = {number: signal.signal(number, late) for number in (signal.SIGALRM, signal.SIGPROF)}
    signal.setitimer(signal.ITIMER_REAL, WAIT)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            run()
        how, why = "handled", ""
    except UserError as error:
        how, why = ("refused", str(error)) if len(str(error)) < 3000 else ("crashed", "the message is a page")
    except Lost as error:
        how, why = "lost", str(error)
    except Exception:
        how, why = "crashed", traceback.format_exc()[-1500:]
    finally:
        for timer in (signal.ITIMER_REAL, signal.ITIMER_PROF):
            signal.setitimer(timer, 0)
        for number, handler in old.items():
            signal.signal(number, handler)
    if peak() - before > BYTES:
        how, why = "lost", "more than 1 GB"
    return how, why


# --- changes


def spoiled(data: bytes, rng: random.Random) -> bytes:
    """Bytes with a few changes: flipped, cut out, repeated, or a large number written over them."""
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5, 20))):
        if not data:
            break
        place, length = rng.randrange(len(data)), rng.choice((1, 2, 4, 8, 100))
        match rng.randrange(6):
            case 0:
                data[place] = rng.randrange(256)
            case 1:
                data[place : place + 4] = rng.choice(NUMBERS)
            case 2:
                del data[place : place + length]
            case 3:
                data[place:place] = data[place : place + length] * rng.choice((1, 3))
            case 4:
                del data[rng.randrange(len(data)) :]
            case 5:
                data[place : place + length] = rng.randbytes(length)
    return bytes(data)


def odd_json(value, rng: random.Random):
    """The value with one of its parts replaced, removed or renamed."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        value, key = dict(value), rng.choice(list(value))
        match rng.randrange(5):
            case 0:
                del value[key]
            case 1:
                value[rng.choice(("x", "", "\x1b[31m"))] = value.pop(key)
            case _:
                value[key] = odd_json(value[key], rng)
        return value
    if isinstance(value, list) and value and rng.random() < 0.7:
        place = rng.randrange(len(value))
        return [*value[:place], odd_json(value[place], rng), *value[place + 1 :]]
    return rng.choice(ODD_VALUES)


def odd_text(value, rng: random.Random) -> bytes:
    """A JSON file with odd values, or spoiled as bytes, or nested deeply."""
    for _ in range(rng.choice((1, 1, 2, 4))):
        value = odd_json(value, rng)
    data = json.dumps(value).encode()
    if rng.random() < 0.2:
        return spoiled(data, rng)
    return b"[" * 100_000 if rng.random() < 0.02 else data


# --- kinds of input: each makes a call from a seed, a folder of its own, and the samples


def samples(folder: Path) -> dict:
    """Whole files to spoil, made once."""
    rng = np.random.default_rng(0)
    a, made = (rng.random((24, 30, 4)) * 255).astype("uint8"), {}
    im = Image.fromarray(a[..., :3])
    for suffix in ("png", "jpg", "webp", "gif", "bmp", "tiff", "jp2", "ppm", "tga"):
        out = io.BytesIO()
        im.save(out, {"jpg": "JPEG", "jp2": "JPEG2000"}.get(suffix, suffix.upper()))
        made[suffix] = out.getvalue()
    im.quantize(8).save(out := io.BytesIO(), "PNG")
    made["palette.png"] = out.getvalue()
    Image.fromarray(a).save(out := io.BytesIO(), "PNG", exif=Image.Exif().tobytes(), dpi=(72, 72))
    made["alpha.png"] = out.getvalue()
    layouts = {"deep.tif": {"compression": "zlib", "tile": (16, 16)}, "strip.tif": {"rowsperstrip": 5}}
    for name, options in layouts.items():
        out = io.BytesIO()
        tifffile.imwrite(out, a[..., :3].astype("uint16") * 257, photometric="rgb", **options)
        made[name] = out.getvalue()
    return {"pictures": made, "folder": folder}


def pictures(rng, folder, given):
    name, data = rng.choice(sorted(given["pictures"].items()))
    path = folder / f"a.{name}"
    path.write_bytes(spoiled(data, rng))

    def run():
        strips.header(path)
        for read in (read_image, strips.read_strips):
            with contextlib.suppress(UserError):
                read(path)
        read_image(path)

    return run


def cards(rng, folder, given):
    for name in ("model.safetensors", "card.json"):
        data = (given["checkpoint"] / name).read_bytes()
        if name == "card.json":
            data = odd_text(json.loads(data), rng) if rng.random() < 0.9 else spoiled(data, rng)
        elif rng.random() < 0.2:
            data = spoiled(data, rng)
        (folder / name).write_bytes(data)
    return lambda: load_net(folder)


def configurations(rng, folder, given):
    cfg = config.recipe(rng.choice(("tiny", "small", "base")))
    if rng.random() < 0.1:
        return lambda: config.from_json(config.to_json(cfg))
    if rng.random() < 0.5:
        text = odd_text(config.to_dict(cfg), rng).decode(errors="replace")
        return lambda: config.from_json(text)
    values = config.to_dict(cfg)
    section = rng.choice(("model", "data", "train"))
    key = rng.choice(list(values[section]))
    value = rng.choice([*map(str, ODD_VALUES), "1,2,3", "1e9", "9" * 5000, "-", ",", "=", "inf"])
    return lambda: config.with_overrides(cfg, [f"{section}.{key}={value}"])


def results(rng, folder, given):
    row = {"dataset": "a", "task": "rain", "image": "a.png", "path": "01201120"}
    row |= dict.fromkeys(("psnr_input", "psnr", "ssim_input", "ssim", "ssim_gaussian", "margin", "seconds"), 0.5)
    value = {"rows": [row, row | {"image": "b.png"}], "means": {}, "average": None, "missing": [], "setting": "demo"}
    value |= dict.fromkeys(("definition", "versions", "checkpoint", "data"), {"a": "b"})
    (folder / "results.json").write_bytes(odd_text(value, rng))
    if rng.random() < 0.3:
        (folder / "run.json").write_bytes(odd_text(run_record(), rng))
    return lambda: read_run(folder).conditions()


def csv_tables(rng, folder, given):
    data = given["table"]
    lines = data.splitlines(keepends=True)
    match rng.randrange(4):
        case 0:
            data = b"".join(rng.sample(lines, rng.randrange(len(lines))))
        case 1:
            data = lines[0] if rng.random() < 0.5 else b""
        case _:
            data = spoiled(data, rng)
    (folder / "ablations.csv").write_bytes(data)

    def run():
        rows = tables.read(folder / "ablations.csv")
        tables.compared(rows)
        tables.claims(rows)

    return run


def traces(rng, folder, given):
    """A file in the place of --trace, whose pictures are there."""
    (folder / "a.png").write_bytes(given["pictures"]["png"])
    path = folder / rng.choice(("t.json", "a.png", "t" * 300 + ".json", "t.txt", "x/t.json", ".", "\x1b[2J.json"))
    if path.suffix == ".json" and len(path.name) < 200 and path.parent == folder:
        match rng.randrange(4):
            case 0:
                os.mkfifo(path)
            case 1:
                path.mkdir()
            case 2:
                path.symlink_to(path)
            case 3:
                path.write_bytes(odd_text({"units": {"anchor_angle": "degrees"}, "images": []}, rng))
    return lambda: check_trace(path, plan(folder / "a.png", folder / "out.png"), False)


def run_record() -> dict:
    value = {"state": "done", "name": "evaluation", "key": "1a2b3c4d", "started": "2026-01-01T00:00:00", "resume": "x"}
    value |= {"source_sha256": "0" * 64, "wall_seconds": 1.5, "parameters": {"seed": 0}, "process": {"pid": 1}}
    return value | {"provenance": {"versions": {"torch": "2"}, "git": None}, "hashes": {}, "changed": {}}


def run_records(rng, folder, given):
    run = folder / "2026-01-01-evaluation-1a2b3c4d"
    run.mkdir()
    (run / "run.json").write_bytes(odd_text(run_record(), rng))
    listed = {"written": "2026-01-01", "files": {"run.json": "0" * 64}}
    (run / "manifest.json").write_bytes(odd_text(listed, rng))

    def call():
        record.read_runs(folder)
        manifest.check(run)

    return call


def data_trees(rng, folder, given):
    """Folders of pictures with known and odd names, links in any direction, lists and broken files."""
    places = [folder]
    for _ in range(rng.randrange(1, 8)):
        place = rng.choice(places) / rng.choice(FOLDERS)
        with contextlib.suppress(OSError):
            place.mkdir(exist_ok=True)
            places.append(place)
    for _ in range(rng.randrange(12)):
        path = rng.choice(places) / rng.choice([*ODD_NAMES, *(f"{c}.png" for c in string.ascii_lowercase[:5])])
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)  # to write into a pipe would wait for ever
            match rng.randrange(8):
                case 0:
                    path.symlink_to(rng.choice(places))
                case 1:
                    path.symlink_to("nowhere.png")
                case 2:
                    os.mkfifo(path)
                case 3:
                    path.write_bytes(b"")
                case 4:
                    path.write_bytes(spoiled(given["pictures"]["png"], rng))
                case _:
                    path.write_bytes(given["pictures"]["png"])
    if rng.random() < 0.4:
        line = rng.choice((b"input,target\na.png,b.png\n", b"input,target\n*.png,*.png\n", b"", b"\0\0", b"x\n" * 9))
        name = rng.choice(("pairs.csv", "pairs.jsonl", "list.csv"))
        with contextlib.suppress(OSError):
            (folder / name).unlink(missing_ok=True)
            (folder / name).write_bytes(spoiled(line, rng) if rng.random() < 0.5 else line)
    return lambda: check.as_text(check.check(folder))


KINDS = {
    "pictures": pictures,
    "cards": cards,
    "configurations": configurations,
    "results": results,
    "tables": csv_tables,
    "traces": traces,
    "run.json": run_records,
    "data trees": data_trees,
}


def campaign(kind: str, cases: int, folder: Path, given: dict, first: int = 0) -> tuple[Counter, list[str]]:
    """(counts of outcomes, a line for each case that crashed or was lost) of seeds `first` on."""
    counts, faults = Counter(), []
    for seed in range(first, first + cases):
        place = folder / f"{kind.replace(' ', '')}{seed}"
        place.mkdir()
        run = KINDS[kind](random.Random(f"{kind} {seed}"), place, given)
        how, why = outcome(run)
        counts[how] += 1
        if how in ("crashed", "lost"):
            faults.append(f"{kind} {seed}: {how}: {why}")
    return counts, faults
