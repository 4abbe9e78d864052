"""The trace store: what is collected is what the network says, the cache is exact, files are whole or refused."""

import ast
import math
import shutil
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import slerlib
from slerlib import UserError
from slerlib.analysis import trace as traces_module
from slerlib.analysis.embedding import make_map
from slerlib.analysis.trace import Grid, Traces, collect, encode, network_hash
from slerlib.data.scenes import photographs
from slerlib.evaluation.cases import LoadedCase, case_seed, centre

SIZE = {"images": 2, "tasks": ("noise25", "rain", "clean")}


@pytest.fixture(scope="module")
def model(untrained):
    return slerlib.load(untrained, device="cpu")


def cases(tasks=("noise25", "rain", "clean"), sizes=((48, 64), (64, 48))):
    for scene, (height, width) in zip(photographs(), sizes, strict=False):
        clean = centre(scene.image, height, width)
        for task in tasks:
            damaged = slerlib.degrade(clean, task, seed=case_seed(0, scene.name, task))
            yield LoadedCase("demo", task, scene.name, damaged, clean)


def same(a: Traces, b: Traces) -> bool:
    arrays = ("embedding", "path", "similarity", "margin", "anchor_angle", "anchors", "pins")
    equal = all(np.array_equal(getattr(a, name), getattr(b, name)) for name in arrays)
    return equal and a.table.equals(b.table) and (a.anchor_names, a.checkpoint) == (b.anchor_names, b.checkpoint)


@pytest.fixture(scope="module")
def restored(model):
    return collect(model, cases(), views=("image", "crop"), side=32)


def test_the_rows_are_what_restore_says(model, restored):
    whole = restored.select(restored.table.view == "image")
    for row, case in enumerate(cases()):
        y, trace = slerlib.restore(model, case.input, return_trace=True)
        entry = whole.table.iloc[row]
        assert (entry.scene, entry.label) == (f"demo/{case.image}", case.task)
        assert entry.psnr == pytest.approx(slerlib.psnr(y, case.target), abs=1e-3)
        assert entry.psnr_input == slerlib.psnr(case.input, case.target)
        assert whole.path[row].tolist() == trace.path[0].tolist()
        for name in ("embedding", "similarity", "margin", "anchor_angle"):
            np.testing.assert_allclose(getattr(whole, name)[row], getattr(trace, name)[0].numpy(), atol=1e-3)
    np.testing.assert_array_equal(restored.pins, model.router.pins.detach().numpy())


def test_encoding_alone_gives_the_same_route_and_no_score(model, restored):
    quick = collect(model, cases(), views=("image", "crop"), side=32, restore=False)
    np.testing.assert_array_equal(quick.path, restored.path)
    np.testing.assert_allclose(quick.embedding, restored.embedding, atol=1e-5)
    assert quick.table.psnr.isna().all() and quick.table.psnr_input.equals(restored.table.psnr_input)


def test_traces_print_on_one_line_and_a_name_is_no_grid(model, restored):
    assert repr(restored).startswith("Traces of 12 rows, 8 layers with 3 experts") and "\n" not in repr(restored)
    with pytest.raises(slerlib.UserError, match=r"Pass Grid\('my photographs'\)"):
        collect(model, "my photographs")


def test_a_crop_is_encoded_by_itself_and_the_batch_does_not_matter(model, restored):
    single = collect(model, cases(), views=("image", "crop"), side=32, batch=1)
    np.testing.assert_allclose(single.embedding, restored.embedding, atol=1e-5)
    case = next(iter(cases()))
    crop = traces_module._cut(case, 32)
    assert crop.input.shape == crop.target.shape == (3, 32, 32)
    embedding = encode(model, crop.input[None]).embedding[0].numpy()
    np.testing.assert_allclose(restored.select(restored.table.view == "crop").embedding[0], embedding, atol=1e-5)
    assert traces_module._cut(case, 512).input.shape == case.input.shape


def test_files_come_back_whole_or_are_refused(restored, tmp_path):
    file = restored.save(tmp_path / "t.npz")
    assert same(Traces.load(file), restored) and [p.name for p in tmp_path.iterdir()] == ["t.npz"]
    content = bytearray(file.read_bytes())
    place = content.find(restored.embedding.tobytes()[:64])
    content[place] ^= 1
    for part in (content, content[:500]):
        file.write_bytes(part)
        with pytest.raises(slerlib.UserError, match="damaged.*collect again"):
            Traces.load(file)
    with pytest.raises(slerlib.UserError, match="missing.npz.*FileNotFound"):
        Traces.load(tmp_path / "missing.npz")


def full_disk(file, **arrays):
    file.write(b"half")
    raise OSError(28, "No space left on device")


def test_a_full_disk_keeps_no_half_of_a_file(restored, tmp_path, monkeypatch):
    monkeypatch.setattr(np, "savez", full_disk)
    with pytest.raises(OSError, match="No space"):
        restored.save(tmp_path / "t.npz")
    with pytest.warns(UserWarning, match="Not cached"):
        make_map(restored, "pca", cache=tmp_path)
    assert not list(tmp_path.iterdir())


def test_select_and_append_are_inverse(restored):
    mask = restored.table.label == "rain"
    again = restored.select(mask).append(restored.select(~mask))
    order = np.concatenate([np.flatnonzero(mask), np.flatnonzero(~mask)])
    assert same(again, restored.select(order)) and len(again) == len(restored)
    assert len(restored.select([])) == 0 and len(restored.select([]).append(restored)) == len(restored)
    with pytest.raises(slerlib.UserError, match="2 networks"):
        restored.append(replace(restored, checkpoint="another"))


def test_a_grid_comes_from_the_cache_and_grows_by_what_is_new(model, tmp_path, monkeypatch):
    small = Grid(**SIZE, severities=(0.5,))
    options = {"restore": False, "views": ("crop",), "side": 32, "cache": tmp_path}
    first = collect(model, small, **options)
    made = []
    demo_cases = traces_module.demo_cases
    monkeypatch.setattr(traces_module, "demo_cases", lambda *args: made.append(args[3]) or demo_cases(*args))
    assert same(collect(model, small, **options), first) and not made
    more = collect(model, Grid(**SIZE, severities=(0.5, 1.0)), **options)
    assert made == [1.0] and len(more) == len(first) + 2
    assert same(more.select(np.arange(len(first))), first)

    for file in tmp_path.glob("traces-*.npz"):
        file.write_bytes(b"half")
    assert same(collect(model, small, **options), first) and len(made) == 3, "damaged files are made again"
    assert collect(model, small, **(options | {"cache": False})).table.equals(first.table)


PACKAGE = traces_module.PACKAGE


def imported(name: str) -> set[str]:
    """Files of the package that a file of it imports, at once or in a function."""
    found, home = set(), (PACKAGE / name).parent
    for node in ast.walk(ast.parse((PACKAGE / name).read_text())):
        if isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").startswith("slerlib.")):
            base = [PACKAGE, *(node.module or "").split(".")[1:]] if not node.level else [
                home, *[".."] * (node.level - 1), *(node.module or "").split(".")]  # fmt: skip
            folder = Path(*base)
            for file in (folder.with_suffix(".py"), *(folder / f"{alias.name}.py" for alias in node.names)):
                found |= {file.resolve().relative_to(PACKAGE).as_posix()} if file.is_file() else set()
    return found


def test_all_code_behind_a_trace_is_in_the_key_of_its_cache():
    seen, todo = set(), {"analysis/trace.py"}
    while todo:
        name = todo.pop()
        seen.add(name)
        todo |= imported(name) - seen
    in_the_key = (*traces_module.BELOW, "analysis/store.py", "analysis/trace.py")
    assert all(name.startswith(in_the_key) for name in seen), sorted(seen)
    assert {"evaluation/metrics.py", "evaluation/settings.py", "images/arrays.py", "data/weather.py"} < seen


def test_the_key_of_the_cache_follows_the_layers():
    contract = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]
    layers = [layer.split(" | ") for layer in contract["layers"]]
    own = next(number for number, rooms in enumerate(layers) if "analysis" in rooms)
    below = {*sum(layers[own + 1 :], [])} - {"grid"}  # it starts commands and computes nothing of a trace
    assert sorted(below) == sorted(name.removesuffix(".py") for name in traces_module.BELOW)


def test_the_key_changes_with_code_that_matters_alone(tmp_path, monkeypatch):
    copy = Path(shutil.copytree(PACKAGE, tmp_path / "slerlib", ignore=shutil.ignore_patterns("__pycache__")))
    monkeypatch.setattr(traces_module, "PACKAGE", copy)
    key = lambda: traces_module._key("net", Grid().parts()[0], {})  # noqa: E731
    for name in ("evaluation/metrics.py", "images/arrays.py", "config/schema.py", "data/camera.py", "files.py"):
        before = key()
        (copy / name).write_text((copy / name).read_text() + "\n")
        assert key() != before, name
    before = key()
    for name in ("plots/style.py", "analysis/geometry.py", "report/page.py", "cli/parser.py", "widgets/walking.py"):
        (copy / name).write_text("")
        assert key() == before, name


def test_noise_levels_and_clean_are_not_repeated_for_every_severity():
    parts = Grid(tasks=("noise15", "rain", "clean"), severities=(0.3, 0.6), seeds=(0, 1)).parts()
    found = [(part.seeds[0], part.severities[0], part.tasks) for part in parts]
    assert [(seed, tasks) for seed, severity, tasks in found if math.isnan(severity)] == [
        (0, ("noise15", "clean")),
        (1, ("noise15",)),
    ]
    assert [item for item in found if not math.isnan(item[1])] == [
        (seed, severity, ("rain",)) for seed in (0, 1) for severity in (0.3, 0.6)
    ]


def test_a_grid_takes_text_and_what_papermill_makes_of_it():
    plain = Grid(tasks=("rain", "clean"), severities=(0.3, 1.0), seeds=(0, 1), images=2)
    assert plain == Grid("demo", "demo", '["rain", "clean"]', "[0.3, 1]", "0, 1", "2")
    assert Grid(tasks="rain", severities=0.5, seeds=3) == Grid(tasks=("rain",), severities=(0.5,), seeds=(3,))
    assert Grid(tasks="None") == Grid() and Grid(setting=5).setting == "5"
    for wrong in ({"tasks": "rian"}, {"severities": "[2]"}, {"seeds": "one"}, {"images": -1}, {"setting": "best"}):
        with pytest.raises(UserError, match=repr(next(iter(wrong.values()))).strip("'[]")):
            Grid(**wrong)


def test_another_network_is_another_checkpoint(model):
    before = network_hash(model)
    with torch.no_grad():
        model.router.pins[0, 0, 0] += 1e-3
        after = network_hash(model)
        model.router.pins[0, 0, 0] -= 1e-3
    assert before != after
    window = model.tlc_window
    model.set_tlc(0)  # restores large images otherwise: the cache must not answer for it
    without = network_hash(model)
    model.set_tlc(window)
    assert without != before == network_hash(model)


@pytest.mark.parametrize("options, message", [({"views": ("tile",)}, "views are"), ({"views": ()}, "views are")])
def test_unknown_views_are_refused(model, options, message):
    with pytest.raises(slerlib.UserError, match=message):
        collect(model, cases(), **options)
    with pytest.raises(slerlib.UserError, match="at least one part"):
        collect(model, [])
