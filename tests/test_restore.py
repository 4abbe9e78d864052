"""Any picture in, the same kind and size out; tiles agree with the whole image; wrong input is explained."""

import copy

import numpy as np
import pytest
import torch
from PIL import Image

from slerlib import config
from slerlib.checkpoint import save_weights
from slerlib.data.scenes import photographs
from slerlib.errors import UserError
from slerlib.images import write_image
from slerlib.inference import tiles
from slerlib.inference.load import best_device, load
from slerlib.inference.restore import restore, rows_options
from slerlib.model.network import SLERIR
from slerlib.model.wrappers import unwrapped

RNG = np.random.default_rng(0)


def random_network(name="tiny", **changes):
    """Untrained, but with every zero-initialised part switched on, so that the output depends on all of it."""
    torch.manual_seed(0)
    changes = {"route_by": "image", **changes}
    cfg = config.with_overrides(config.recipe(name), [f"model.{key}={value}" for key, value in changes.items()])
    net = SLERIR(cfg.model)
    with torch.no_grad():
        for key, parameter in net.named_parameters():
            if key.endswith((".beta", ".gamma")):
                parameter.normal_(0, 0.3)
            elif key.endswith("attention.weight"):
                parameter.mul_(8)  # local statistics shall matter
            elif key.startswith("injections"):
                parameter.normal_(0, 0.1)
            elif key.startswith(("outro", "intro")):
                parameter.mul_(0.5)
    return net.eval()


@pytest.fixture(scope="module")
def net():
    return random_network()


def photograph(height, width, index=3):
    """A bundled photograph that is darker on the left, so that local and global statistics differ."""
    image_CHW = photographs()[index].image[:, :height, :width]
    return (image_CHW * torch.linspace(0.3, 1, width)).contiguous()


# --- kinds ---


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("shape", [(3, 40, 56), (2, 3, 40, 56), (1, 40, 56), (2, 1, 40, 56)])
def test_tensors_keep_shape_and_dtype(net, shape, dtype):
    x = torch.rand(shape).to(dtype)
    before = x.clone()
    y, trace = restore(net, x, return_trace=True)
    assert y.shape == x.shape and y.dtype == dtype and 0 <= y.min() and y.max() <= 1
    assert torch.equal(x, before) and not torch.equal(x, y)
    n = shape[0] if len(shape) == 4 else 1
    assert trace.path.shape == (n, 8) and trace.path.dtype == torch.int64 and trace.similarity.shape == (n, 8, 3)
    assert trace.margin.shape == (n, 8) and trace.embedding.shape[0] == n
    assert trace.anchor_angle.shape == (n, len(trace.anchor_names))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "float64"])
@pytest.mark.parametrize("shape", [(24, 33), (24, 33, 1), (24, 33, 3), (24, 33, 4)])
def test_arrays_keep_shape_dtype_and_alpha(net, shape, dtype):
    top = {"uint8": 255, "uint16": 65535}.get(dtype, 1)
    a = (RNG.random(shape) * top).astype(dtype)
    y = restore(net, a)
    assert y.shape == a.shape and y.dtype == a.dtype and (y[..., :3] != a[..., :3]).any()
    if shape[-1] == 4:
        np.testing.assert_array_equal(y[..., 3], a[..., 3])


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "CMYK", "I;16"])
def test_pil_images_keep_mode_and_size(net, mode):
    values = RNG.integers(0, 256, (24, 33), dtype=np.uint8)
    im = Image.fromarray(values.astype(np.uint16) * 257) if mode == "I;16" else Image.fromarray(values).convert(mode)
    y = restore(net, im)
    assert y.mode == mode and y.size == im.size


def test_all_kinds_agree(net, tmp_path):
    a = RNG.integers(0, 256, (24, 33, 3), dtype=np.uint8)
    Image.fromarray(a).save(tmp_path / "a.png")
    y = restore(net, a)
    assert isinstance(restore(net, tmp_path / "a.png"), Image.Image)
    np.testing.assert_array_equal(np.asarray(restore(net, str(tmp_path / "a.png"))), y)
    np.testing.assert_array_equal(np.asarray(restore(net, Image.fromarray(a))), y)
    np.testing.assert_allclose(restore(net, a.astype(np.float32) / 255), y / 255, atol=0.003)
    tensor = restore(net, torch.from_numpy(a).permute(2, 0, 1).float() / 255)
    np.testing.assert_allclose(tensor.permute(1, 2, 0).numpy(), y / 255, atol=0.003)


def test_note_about_a_file_is_a_warning(net, tmp_path):
    frames = [Image.new("L", (16, 16), value) for value in (10, 200)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    with pytest.warns(UserWarning, match="only the first"):
        restore(net, tmp_path / "a.gif")


def test_16_bit_colour_file_comes_back_as_8_bit_pil(net, tmp_path):
    from slerlib.images import Meta

    write_image(tmp_path / "x.png", torch.rand(3, 20, 20), Meta(depth=16))
    assert restore(net, tmp_path / "x.png").mode == "RGB"


# --- sizes ---


SIZES = [(1, 1), (2, 3), (7, 7), (8, 9), (15, 16), (16, 15), (17, 31), (1, 70), (333, 1), (61, 67)]


@pytest.mark.parametrize("size", SIZES)
def test_odd_and_tiny_sizes(net, size):
    y = restore(net, torch.rand(3, *size))
    assert y.shape == (3, *size) and torch.isfinite(y).all()


def test_long_and_narrow(net):
    x = torch.rand(3, 17, 3000)
    whole = restore(net, x, tile=0)
    assert whole.shape == x.shape
    for tile in (64, 512):
        assert (restore(net, x, tile=tile) - whole).abs().max() < 0.01
    assert restore(net, x.mT).shape == (3, 3000, 17)


def test_padding_is_a_reflection(net):
    x = torch.rand(3, 19, 21)
    padded = torch.nn.functional.pad(x[None], (0, 3, 0, 5), mode="reflect")[0]
    torch.testing.assert_close(restore(net, x), restore(net, padded)[:, :19, :21])
    with torch.inference_mode():
        torch.testing.assert_close(restore(net, x), net(x[None])[0].clamp(0, 1))


# --- one by one, state, paths ---


def test_batch_equals_one_by_one(net):
    x = torch.stack([photograph(48, 48, i) for i in range(4)])
    x[1] = (x[1] + 0.2 * torch.randn_like(x[1])).clamp(0, 1)
    y, trace = restore(net, x, return_trace=True)
    for b in range(len(x)):
        one, own = restore(net, x[b], return_trace=True)
        torch.testing.assert_close(one, y[b], atol=1e-5, rtol=0)
        assert torch.equal(own.path[0], trace.path[b])
    assert torch.equal(y, restore(net, x))


def test_model_is_left_as_it_was(net):
    net.train()
    net.stages[0].eval()
    frozen = {name: value.clone() for name, value in net.state_dict().items()}
    y = restore(net, torch.rand(3, 32, 32, requires_grad=True))
    assert net.training and not net.stages[0].training and net.stages[1].training
    assert all(torch.equal(frozen[name], value) for name, value in net.state_dict().items())
    assert not y.requires_grad and not y.is_inference()
    with pytest.raises(UserError):
        restore(net, torch.rand(3, 32, 32), path=[9] * 8)
    assert net.training
    net.eval()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_networks_of_other_precision(net, dtype):
    x, other = torch.rand(3, 40, 48), copy.deepcopy(net).to(dtype)
    y = restore(other, x, route="image")  # places nearly as far from two pins may change sides
    assert y.dtype == torch.float32 and (y - restore(net, x, route="image")).abs().max() < 0.02
    assert other.intro.weight.dtype == dtype  # restore left it as it was


def test_wrapped_networks(net):
    x = torch.rand(3, 32, 32)
    wrappers = torch.nn.DataParallel, torch.compile, torch.optim.swa_utils.AveragedModel
    for wrapped in [*(wrap(net) for wrap in wrappers), torch.compile(torch.nn.DataParallel(net))]:
        assert torch.equal(restore(wrapped, x), restore(net, x))
    other = torch.nn.DataParallel(torch.nn.Identity())
    assert unwrapped(other) is other
    with pytest.raises(UserError, match="DataParallel"):
        restore(other, x)


def test_forced_paths(net):
    x = torch.rand(2, 3, 32, 32)
    forced, trace = restore(net, x, path=[0, 1, 2, 0, 1, 2, 0, 1], return_trace=True)
    assert trace.path_strings() == ["01201201"] * 2
    assert torch.equal(forced, restore(net, x, path="01201201"))
    each = torch.tensor([[0] * 8, [2] * 8])
    both = restore(net, x, path=each)
    torch.testing.assert_close(both[1], restore(net, x[1], path="22222222"), atol=1e-5, rtol=0)
    assert not torch.equal(both, forced)


@pytest.mark.parametrize(
    "path",
    [
        [0] * 7,
        [0] * 9,
        [3] + [0] * 7,
        [-1] + [0] * 7,
        [0.0] * 8,
        [0.5] * 8,
        [[0] * 8] * 3,
        ["a"] * 8,
        "0120112",
        "0120112x",
        "",
        5,
        torch.zeros(8),
        object(),
        {"a": 1},
    ],
)
def test_bad_paths_are_refused(net, path):
    with pytest.raises(UserError, match="path"):
        restore(net, torch.rand(3, 16, 16), path=path)


# --- tiles ---


SMALLER = {"width": 8, "stem_blocks": 0, "encoder_blocks": 2, "encoder_kernel": 0}


@pytest.mark.parametrize("changes", [{}, {"glgf": "off"}, {"strides": "4,2,2"}, {"block": "restormer", **SMALLER}])
def test_tiles_agree_with_the_whole_image(changes):
    net = random_network(**changes)
    x = photograph(270, 333)
    whole, trace = restore(net, x, tile=0, return_trace=True)
    for tile in (64, 168):
        y, tiled = restore(net, x, tile=tile, return_trace=True)
        assert (y - whole).abs().max() < 0.01
        assert torch.equal(tiled.path, trace.path)
        torch.testing.assert_close(tiled.embedding, trace.embedding, atol=1e-5, rtol=0)
    forced = restore(net, x, tile=128, path="20120120")
    assert (forced - restore(net, x, tile=0, path="20120120")).abs().max() < 0.01
    assert (forced - whole).abs().max() > 0.01


def test_agreement_comes_from_local_statistics_and_one_guide():
    """With global statistics, or with a guide and path of its own, a tile differs by more."""
    net = random_network()
    x = photograph(270, 333)
    whole = restore(net, x, tile=0)
    good = (restore(net, x, tile=168) - whole).abs().max()
    assert (restore(net, x, tile=168, route="tile") - whole).abs().max() > 3 * good
    net.set_tlc(0)
    assert (restore(net, x, tile=168) - restore(net, x, tile=0)).abs().max() > 3 * good


def test_tiles_of_a_batch(net):
    x = torch.stack([photograph(200, 200, i) for i in (0, 3)])
    paths = torch.tensor([[0] * 8, [1] * 8])
    y, trace = restore(net, x, tile=128, path=paths, return_trace=True)
    assert torch.equal(trace.path, paths)
    torch.testing.assert_close(y[1], restore(net, x[1], tile=128, path=paths[1]), atol=1e-6, rtol=0)


def test_route_per_tile(net):
    x = photograph(200, 300)
    y, trace = restore(net, x, tile=128, route="tile", return_trace=True)
    rows, columns = tiles.spans(200, 128, 32), tiles.spans(304, 128, 32)
    assert y.shape == x.shape and len(trace.path) == len(rows) * len(columns) > 1
    last = x[:, rows[-1][0] :, columns[0][0] : columns[0][1]]
    own = restore(net, last, return_trace=True)[1]
    assert torch.equal(trace.path[-len(columns)], own.path[0])
    torch.testing.assert_close(trace.embedding[-len(columns)], own.embedding[0], atol=1e-5, rtol=0)


def test_route_per_tile_needs_no_side(net):
    """Below 1.5 million pixels, too: the tiles have 512 pixels a side."""
    x = torch.rand(3, 640, 200)
    y, trace = restore(net, x, route="tile", return_trace=True)
    assert len(trace.path) == 2 and torch.equal(y, restore(net, x, tile=512, route="tile"))
    settings = rows_options(net, 2000, 1000, path=None, tile=None, route="tile", passes=1)
    assert settings["side"] == 512  # above 1.5 million pixels as well


def test_layers_that_look_at_features_choose_per_tile():
    net = random_network(router="sphere_stage")
    _, trace = restore(net, photograph(200, 200), tile=128, return_trace=True)
    assert len(trace.path) == 4
    _, forced = restore(net, photograph(200, 200), tile=128, path="00000000", return_trace=True)
    assert forced.path.tolist() == [[0] * 8]


def test_large_images_are_tiled_by_themselves(net, monkeypatch):
    x = photograph(256, 256)
    from slerlib.inference import restore as module

    monkeypatch.setattr(module, "WHOLE_PIXELS", 200 * 200)
    monkeypatch.setattr(module, "AUTO_TILE", 128)
    assert torch.equal(restore(net, x), restore(net, x, tile=128))
    assert not torch.equal(restore(net, x), restore(net, x, tile=0))
    assert torch.equal(restore(net, x[:, :200, :200]), restore(net, x[:, :200, :200], tile=0))


def test_the_backbone_sees_no_more_than_a_tile(net, monkeypatch):
    seen, backbone = [], SLERIR.backbone

    def watched(self, x_BCHW, *args, **kwargs):
        seen.append(x_BCHW.shape[-2:])
        return backbone(self, x_BCHW, *args, **kwargs)

    monkeypatch.setattr(SLERIR, "backbone", watched)
    restore(net, torch.rand(3, 700, 500), tile=256)
    assert len(seen) > 4 and max(max(size) for size in seen) < 256 + net.cell


@pytest.mark.parametrize("length", [16, 24, 96, 127, 128, 160, 200, 256, 264, 704, 1000, 3000])
@pytest.mark.parametrize("side, cell", [(128, 32), (512, 32), (256, 64)])
def test_spans_cover_and_weights_sum_to_one(length, side, cell):
    parts = tiles.spans(length, side, cell)
    assert parts[0][0] == 0 and parts[-1][1] == length
    assert all(start % cell == 0 and end - start < side + cell for start, end in parts)
    assert all(end - start >= side for start, end in parts) or len(parts) == 1
    weight_TL = tiles.weights(parts, cell)
    torch.testing.assert_close(weight_TL.sum(0), torch.ones(length))
    assert weight_TL.min() >= 0
    for weight_L, (start, end) in zip(weight_TL, parts, strict=True):
        assert not weight_L[:start].any() and not weight_L[end:].any()
        assert start == 0 or weight_L[start + cell // 4] == 0
        assert end == length or weight_L[end - cell // 4] == 0


# --- refusals ---


@pytest.mark.parametrize(
    "x, pattern",
    [
        (torch.zeros(3, 16, 16, dtype=torch.uint8), "Divide it by 255"),
        (torch.zeros(3, 16, 16, dtype=torch.int64), "floating point"),
        (torch.zeros(3, 16, 16, dtype=torch.bool), "floating point"),
        (torch.zeros(3, 16, 16, dtype=torch.complex64), "floating point"),
        (torch.zeros(16, 16), r"x\[None\]"),
        (torch.zeros(16, 16, 3), "permute"),
        (torch.zeros(4, 16, 16), "alpha"),
        (torch.zeros(2, 16, 16), "3, H, W"),
        (torch.zeros(0, 3, 16, 16), "3, H, W"),
        (torch.zeros(3, 0, 16), "3, H, W"),
        (torch.zeros(1, 1, 3, 16, 16), "3, H, W"),
        (torch.full((3, 16, 16), float("nan")), "NaN"),
        (torch.tensor([0.5, float("nan")]).repeat(3, 16, 8), "NaN"),
        (torch.full((3, 16, 16), float("inf")), "NaN or inf"),
        (torch.full((3, 16, 16), 1.5), "0 to 1"),
        (torch.full((3, 16, 16), 200.0), "Divide it by 255"),
        (torch.full((3, 16, 16), -0.1), "Rescale"),
        (np.zeros((16, 16, 3), np.int32), "uint8"),
        (np.full((16, 16, 3), np.nan), "NaN"),
        ("no/such/file.png", "does not exist"),
        (None, "NoneType"),
        ([[0, 1]], "list"),
        (b"bytes", "bytes"),
    ],
)
def test_bad_pictures_are_refused(net, x, pattern):
    with pytest.raises(UserError, match=pattern) as caught:
        restore(net, x)
    assert "\n" not in str(caught.value)


def test_values_just_outside_are_clamped(net):
    x = torch.rand(3, 16, 16)
    x[0, 0, 0], x[1, 1, 1] = -0.0005, 1.0005
    assert torch.equal(restore(net, x), restore(net, x.clamp(0, 1)))


@pytest.mark.parametrize(
    "options, pattern",
    [
        ({"tile": 32}, "multiple of 8"),
        ({"tile": 65}, "multiple of 8"),
        ({"tile": -64}, "multiple of 8"),
        ({"tile": 64.0}, "tile"),
        ({"tile": True}, "tile"),
        ({"tile": "big"}, "tile"),
        ({"route": "best"}, "route"),
        ({"route": "tile", "tile": 0}, "tile=0"),
        ({"route": "tile", "path": "00000000"}, "path='00000000'"),
    ],
)
def test_bad_options_are_refused(net, options, pattern):
    with pytest.raises(UserError, match=pattern):
        restore(net, torch.rand(3, 16, 16), **options)


def test_bad_models_are_refused():
    for model in ("tiny", None, torch.nn.Identity()):
        with pytest.raises(UserError, match="slerlib.load"):
            restore(model, torch.rand(3, 16, 16))
    broken = random_network()
    broken.intro.weight.data.fill_(float("nan"))
    with pytest.raises(UserError, match="finite"):
        restore(broken, torch.rand(3, 16, 16), path="00000000")


def test_load_puts_the_network_on_a_device(monkeypatch):
    checkpoint = pytest.importorskip("slerlib.checkpoint")
    monkeypatch.setattr(checkpoint, "load_net", lambda name: (random_network().train(), {"name": name}))
    net = load("tiny", device="cpu")
    assert not net.training and net.card["name"] == "tiny"
    assert next(load("tiny").parameters()).device.type == best_device()
    for device in ("abacus", "cuda:99", 3.5):
        with pytest.raises(UserError, match="device"):
            load("tiny", device=device)


def test_half_weights_take_half_the_room_and_load_as_float32(net, tmp_path):
    card = {"config": config.to_dict(config.recipe("tiny"))}
    whole, half = (save_weights(tmp_path / str(flag), net, card, half=flag) for flag in (False, True))
    size = {folder: (folder / "model.safetensors").stat().st_size for folder in (whole, half)}
    assert size[half] < 0.52 * size[whole]
    rounded = load(half, device="cpu")
    assert {tensor.dtype for tensor in rounded.state_dict().values() if tensor.is_floating_point()} == {torch.float32}
    halved = {name for name, _ in net.named_parameters() if not name.startswith("router.")}
    for name, tensor in rounded.state_dict().items():
        own = net.state_dict()[name]
        assert torch.equal(tensor, own.half().float() if name in halved else own), name
    x = torch.rand(3, 40, 48)
    assert 0 < (restore(rounded, x) - restore(load(whole, device="cpu"), x)).abs().max() < 0.01
