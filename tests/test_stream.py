"""Large pictures by rows: the look in strips is that of `net.encode`, and a file is that of the picture in memory."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from slerlib import SLERIR, config, restore, save
from slerlib.data.scenes import photographs
from slerlib.errors import UserError
from slerlib.images import read_image
from slerlib.images.rows import Pixels
from slerlib.inference import ahead, look, memory, statistics, stream
from slerlib.inference import restore as restoring
from slerlib.model import own
from slerlib.model.network import SMALLEST


def network(**changes):
    torch.manual_seed(0)
    net = SLERIR(replace(config.recipe("tiny").model, **{"route_by": "image", **changes})).eval()
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if name.endswith(("beta", "gamma")) or ".project." in name:
                parameter.normal_(std=0.1)
    return net


def photograph(height, width, index=0):
    x = photographs()[index].image
    return x[:, :height, :width].contiguous()


@pytest.fixture
def small_steps(monkeypatch):
    """Strips and blocks so small that a photograph has many."""
    for name, value in {"STRIP": 7, "COLUMNS": 9, "WINDOWS": 2}.items():
        monkeypatch.setattr(look, name, value)
    monkeypatch.setattr(statistics, "STRIP", 16)


VARIANTS = [
    {},
    {"glgf": "off"},
    {"glgf": "cls_only"},
    {"glgf": "patch_only"},
    {"inject": "none"},
    {"strides": (4, 2, 2), "context": 128},
    {"sude": "linear", "router": "linear"},
]


@pytest.mark.parametrize("changes", VARIANTS)
@pytest.mark.parametrize("size", [(200, 333), (40, 30), (130, 120), (9, 300)])
@torch.inference_mode()
def test_the_look_in_strips_is_that_of_the_whole(small_steps, changes, size):
    net, x = network(**changes), photograph(*size)
    pixels = Pixels(x, net.multiple, SMALLEST)
    whole = pixels.part(0, pixels.height, 0, pixels.width)[None]
    encoding, seen = net.encode(whole, route_by="place"), look.Look(net, pixels)
    close = {"atol": 2e-5, "rtol": 1e-4}
    torch.testing.assert_close(seen.embedding, encoding.embedding, **close)
    h = seen.h
    for top, bottom in ((0, h), (0, 1), (h // 2, h), (h - 1, h)):
        torch.testing.assert_close(seen.local(top, bottom), encoding.local[:, :, top:bottom], **close)
        torch.testing.assert_close(seen.points(top, bottom), encoding.points[:, :, top:bottom], **close)
        if encoding.guide is None:
            assert seen.guide(top, bottom) is None
        else:
            torch.testing.assert_close(seen.guide(top, bottom), encoding.guide[:, :, top:bottom], **close)


@pytest.mark.parametrize("route", ["image", "place"])
@torch.inference_mode()
def test_the_route_is_that_of_the_whole(small_steps, route):
    net, x = network(), photograph(200, 333)
    pixels = Pixels(x, net.multiple, SMALLEST)
    whole = pixels.part(0, pixels.height, 0, pixels.width)[None]
    expected = net.route(net.encode(whole, route_by=route), x_BCHW=whole)
    trace, counts = look.Look(net, pixels).route(None, route == "place", True)
    assert torch.equal(trace.path, expected.path)
    torch.testing.assert_close(trace.local_angle, expected.local_angle, atol=1e-2, rtol=0)
    assert sum(counts.values()) == trace.local_angle[0, 0].numel()
    names = [trace.anchor_names[k] for k in trace.where().flatten().tolist()]
    assert counts == {name: names.count(name) for name in counts}
    short, again = look.Look(net, pixels).route(None, route == "place", False)
    assert again == counts and short.local_angle is None
    if route == "place":
        assert (trace.path_map == expected.path_map).float().mean() > 0.999
        torch.testing.assert_close(trace.place_probability, expected.place_probability, atol=1e-3, rtol=0)
        assert short.path_map.dtype == torch.uint8 and torch.equal(short.path_map.long(), trace.path_map)


@torch.inference_mode()
def test_a_random_route_has_the_seed_of_the_whole(small_steps):
    net, x = network(router="random"), photograph(90, 75)
    pixels = Pixels(x, net.multiple, SMALLEST)
    whole = pixels.part(0, pixels.height, 0, pixels.width)[None]
    expected = net.route(net.encode(whole), x_BCHW=whole)
    assert torch.equal(look.Look(net, pixels).route(None, False, False)[0].path, expected.path)


@torch.inference_mode()
def test_own_classes_see_the_same(small_steps):
    x = photograph(104, 152)
    torch.testing.assert_close(statistics.statistics(Pixels(x)), own.statistics(x[None]), atol=2e-4, rtol=1e-3)
    net = network(classes=(*config.recipe("tiny").model.classes, "mine"), own_classes=1, experts=4)
    with torch.no_grad():
        net.own.gates[0].layers[-1].bias.fill_(5.0)
    pixels = Pixels(x, net.multiple, SMALLEST)
    encoding, seen = net.encode(x[None]), look.Look(net, pixels)
    assert seen.push is not None and seen.push.abs().max() > 0
    torch.testing.assert_close(seen.embedding, encoding.embedding, atol=1e-4, rtol=0)
    torch.testing.assert_close(seen.local(0, seen.h), encoding.local, atol=1e-4, rtol=0)


# --- files ---


@pytest.fixture
def large(monkeypatch):
    """Pictures count as large from 20,000 pixels on."""
    for module in (restoring, ahead):
        monkeypatch.setattr(module, "WHOLE_PIXELS", 20_000)
    monkeypatch.setattr(restoring, "AUTO_TILE", 128)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    net = network()
    save(net, folder / "net")
    return folder / "net"


def stored(path, n=3, dtype="uint8", height=231, width=310):
    x = photograph(height, width).permute(1, 2, 0).numpy()
    a = (np.concatenate([x, x[..., :1]], axis=2)[..., :n] * np.iinfo(dtype).max).astype(dtype)
    a = a[..., 0] if n == 1 else a
    if dtype == "uint16":
        import imagecodecs

        path.write_bytes(imagecodecs.png_encode(np.ascontiguousarray(a)))
    else:
        Image.fromarray(a).save(path)
    return a


@pytest.mark.parametrize("passes", [1, 2])
@pytest.mark.parametrize("route", ["image", "place"])
@pytest.mark.parametrize("suffix", [".png", ".tiff", ".webp"])
def test_a_file_by_rows_is_the_picture_in_memory(run, large, weights, tmp_path, passes, route, suffix):
    from slerlib import load

    stored(tmp_path / f"in{suffix}")
    words = ["--checkpoint", weights, "--passes", passes, "--route", route, "--trace", tmp_path / "t.json"]
    code, _, err = run("restore", tmp_path / f"in{suffix}", tmp_path / f"out{suffix}", *words)
    assert code == 0, err
    options = {"tile": 128, "passes": passes, "route": route}
    x_CHW = read_image(tmp_path / f"in{suffix}")[0]
    y_CHW, trace = restore(load(weights, "cpu"), x_CHW, return_trace=True, **options)
    written = read_image(tmp_path / f"out{suffix}")[0]
    assert (written - y_CHW).abs().max() <= (1 if passes == 1 else 2) / 255
    (record,) = json.loads((tmp_path / "t.json").read_text())["images"]
    assert record["path"] == trace.path[0].tolist() and (record["width"], record["height"]) == (310, 231)
    assert record["passes"] == passes and len(record["results_seen_as"]) == passes - 1
    assert sum(record["places"].values()) == pytest.approx(1, abs=1e-3)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([f"in{suffix}", f"out{suffix}", "t.json"])


@pytest.mark.parametrize("n, dtype", [(1, "uint8"), (4, "uint8"), (3, "uint16"), (4, "uint16")])
def test_depth_and_transparency_survive(run, large, weights, tmp_path, n, dtype):
    a = stored(tmp_path / "in.png", n, dtype)
    code, _, err = run("restore", tmp_path / "in.png", tmp_path / "out.png", "--checkpoint", weights)
    assert code == 0, err
    (x, before), (y, after) = read_image(tmp_path / "in.png"), read_image(tmp_path / "out.png")
    assert after.depth == before.depth and after.mode == before.mode and y.shape == x.shape
    assert (after.alpha is None) == (n != 4)
    assert n != 4 or np.array_equal(after.alpha, a[..., 3])


def test_transparency_makes_a_png_of_a_folder_s_picture(run, large, weights, tmp_path):
    (tmp_path / "in").mkdir()
    stored(tmp_path / "in" / "a.png", 4)
    (tmp_path / "in" / "a.png").rename(tmp_path / "in" / "a.jpg")  # a PNG by its content
    code, _, err = run("restore", tmp_path / "in", tmp_path / "out", "--checkpoint", weights)
    assert code == 0, err
    assert read_image(tmp_path / "out" / "a.png")[1].alpha is not None


def test_paths_and_arrays_by_rows_in_python(large, tmp_path, weights):
    net = network()
    a = stored(tmp_path / "in.png", 4)
    y, trace = restore(net, tmp_path / "in.png", return_trace=True)
    other, seen = restore(net, a, return_trace=True)
    assert y.mode == "RGBA" and np.array_equal(np.asarray(y), other) and np.array_equal(other[..., 3], a[..., 3])
    x_CHW = torch.from_numpy(a[..., :3]).permute(2, 0, 1).float() / 255
    expected, whole = restore(net, x_CHW, tile=128, return_trace=True)
    assert abs(other[..., :3] / 255 - expected.permute(1, 2, 0).numpy()).max() <= 1 / 255
    for one in (trace, seen):
        assert torch.equal(one.path, whole.path) and torch.equal(one.local_angle, whole.local_angle)


def test_one_path_of_large_pictures(run, large, weights, tmp_path):
    (tmp_path / "in").mkdir()
    stored(tmp_path / "in" / "a.png")
    code, _, err = run(
        "restore",
        tmp_path / "in",
        tmp_path / "out",
        "--checkpoint",
        weights,
        "--one-path",
        "--trace",
        tmp_path / "t.json",
    )
    assert code == 0, err
    record = json.loads((tmp_path / "t.json").read_text())
    assert record["path"] == "".join(map(str, record["images"][0]["path"]))


def test_the_source_is_read_and_the_result_written_in_parts(monkeypatch):
    """No part is larger than a row of tiles, and rows come once, from the top down."""
    net, x, parts, rows = network(), photograph(500, 300), [], []
    read = Pixels.part
    monkeypatch.setattr(Pixels, "part", lambda self, *box: parts.append(box) or read(self, *box))
    options = {"side": 128, "route": "image"}
    stream.restore_rows(net, x, lambda top, y: rows.append((top, y.shape[1])), **options)
    limit = 128 + net.cell + 2 * net.encoder.reach * net.cfg.stride
    assert max(bottom - top for top, bottom, _, _ in parts) <= max(limit, (look.STRIP + 2 * net.encoder.reach) * 8)
    assert [top for top, _ in rows] == [sum(n for _, n in rows[:i]) for i in range(len(rows))]
    assert sum(n for _, n in rows) == 500 and max(n for _, n in rows) < 2 * 128


# --- memory ---


def test_smaller_tiles_where_memory_is_short(monkeypatch):
    net = network()
    monkeypatch.setattr(memory, "free_memory", lambda device="cpu": 400_000_000)
    side, note = memory.fitting_side(net, 5000, 4000, 768, fixed=False)
    assert 128 <= side < 768 and side % 8 == 0 and f"Tiles of {side} pixels" in note and "0.4 are free" in note
    assert memory.fitting_side(net, 300, 200, 0, fixed=False) == (0, "")
    with pytest.raises(
        UserError, match=r"5000 x 4000 pixels need about .* with tile=768, and 0.4 GB are free. Leave out"
    ):
        memory.fitting_side(net, 5000, 4000, 768, fixed=True)
    with pytest.raises(UserError, match=r"5000 x 4000 pixels need about .* as a whole"):
        memory.fitting_side(net, 5000, 4000, 0, fixed=True)
    with pytest.raises(UserError, match=r"need about 1.6 GB, and 0.4 GB are free. Close other programs"):
        memory.fitting_side(net, 20000, 20000, 768, fixed=False, held=1_600_000_000)


def test_a_picture_too_large_is_refused_before_it_is_decoded(run, large, weights, tmp_path, monkeypatch):
    stored(tmp_path / "in.jpg")
    monkeypatch.setattr(memory, "free_memory", lambda device="cpu": 10_000_000)
    code, _, err = run("restore", tmp_path / "in.jpg", tmp_path / "out.png", "--checkpoint", weights)
    assert code == 1 and "310 x 231 pixels need about" in err and not (tmp_path / "out.png").exists()


def test_a_full_disk_is_refused_before_the_work(run, large, weights, tmp_path, monkeypatch):
    stored(tmp_path / "in.png")
    monkeypatch.setattr("psutil.disk_usage", lambda path: SimpleNamespace(free=1000))
    code, _, err = run("restore", tmp_path / "in.png", tmp_path / "out.png", "--checkpoint", weights)
    assert code == 1 and "temporary files" in err and "0.0 GB free" in err


def test_smaller_tiles_are_said(run, large, weights, tmp_path, monkeypatch):
    stored(tmp_path / "in.png", height=400, width=400)
    net = network()
    monkeypatch.setattr(restoring, "AUTO_TILE", 256)
    enough = memory.tile_bytes(net, 200) + 200 * 400 * memory.BAND
    monkeypatch.setattr(memory, "free_memory", lambda device="cpu": enough)
    code, out, err = run("restore", tmp_path / "in.png", tmp_path / "out.png", "--checkpoint", weights)
    assert code == 0, err
    assert "Tiles of 128 pixels" in out


def test_smaller_tiles_of_a_picture_that_is_not_read_by_rows_are_said_too(run, weights, tmp_path, monkeypatch):
    stored(tmp_path / "in.png", height=400, width=400)
    enough = int(memory.TILED * memory.tile_bytes(network(), 192)) + 192 * 400 * memory.BAND
    enough += memory.disk_bytes(network(), 400, 400)  # samples and tokens, which wait in memory
    free = iter([enough, *[enough - 2000] * 9])  # other work takes some after the look
    monkeypatch.setattr(memory, "free_memory", lambda device="cpu": next(free))
    options = ["--checkpoint", weights, "--trace", tmp_path / "t.json"]
    code, out, err = run("restore", tmp_path / "in.png", tmp_path / "out.png", *options)
    assert code == 0, err
    (note,) = json.loads((tmp_path / "t.json").read_text())["images"][0]["notes"]
    assert note.startswith("Tiles of 192 pixels")
    assert f"Images with a note: 1, such as {tmp_path / 'in.png'} (Tiles of 192" in out


def test_the_largest_picture_that_fits(monkeypatch, tmp_path):
    net = network()
    monkeypatch.setattr(memory, "free_memory", lambda device="cpu": 2_000_000_000)
    monkeypatch.setattr("psutil.disk_usage", lambda path: SimpleNamespace(free=10**12))
    pixels, other, limit = memory.largest(net, 768, tmp_path)
    assert limit == "disk" or limit == "memory"
    side = int(pixels**0.5)
    assert memory.fitting_side(net, side, side, 768, fixed=True) == (768, "")
    assert other == min(pixels, 2_000_000_000 // 4)
    monkeypatch.setattr(memory, "free_memory", lambda device="cpu": 10**15)
    monkeypatch.setattr("psutil.disk_usage", lambda path: SimpleNamespace(free=10**15))
    assert memory.largest(net, 768, tmp_path)[1] == 65_535**2  # the sides of a JPEG have 16 bits
    monkeypatch.setattr("psutil.disk_usage", lambda path: SimpleNamespace(free=10**9))
    assert memory.largest(net, 768, tmp_path)[2] == "disk" and memory.largest(net, 768, tmp_path)[0] < 10**9 / 8


def test_free_memory_counts_the_control_group(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    everything = memory.free_memory()
    assert everything > 0
    for name, value in {
        "memory.max": "1000",
        "memory.current": "600",
        "memory.stat": "anon 1\ninactive_file 50\n",
    }.items():
        (tmp_path / name).write_text(value)
    assert memory.free_memory() == 450
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.free_memory() > 10**6
