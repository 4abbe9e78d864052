"""Networks outside slerlib: `torch.export`, TorchScript and ONNX give the picture that `restore` gives."""

import sys

import numpy as np
import pytest
import torch

from slerlib import SLERIR, UserError, config, load, restore
from slerlib.model.export import export_onnx, fixed_path

PATH = "02111200"


@pytest.fixture(scope="module")
def net():
    net = load("tiny", "cpu")
    net.set_tlc(24)  # so that small pictures take local statistics too
    return net


@pytest.fixture(scope="module")
def pictures():
    return torch.rand(2, 3, 44, 59, generator=torch.Generator().manual_seed(0))


def test_a_fixed_path_is_a_third_of_the_stages_and_restores_the_same(net, pictures):
    before = torch.get_rng_state()
    fixed = fixed_path(net, PATH)
    assert torch.equal(torch.get_rng_state(), before)
    with torch.inference_mode():  # as `restore` computes: other kernels serve where gradients may be asked for
        assert torch.equal(fixed(pictures), restore(net, pictures, path=PATH))
    assert net.cfg.experts == 3 and not any("experts.1" in name for name in fixed.state_dict())
    with pytest.raises(UserError, match=r"0\.\.2.*got '33333333'"):
        fixed_path(net, "33333333")


@pytest.mark.parametrize("router", ["random", "linear", "sphere_stage"])
def test_every_router_has_fixed_paths(pictures, router):
    torch.manual_seed(0)
    net = SLERIR(
        config.with_overrides(config.recipe("tiny"), [f"model.router={router}", "model.route_by=image"]).model
    ).eval()
    program = torch.export.export(fixed_path(net, PATH), (pictures,))
    torch.testing.assert_close(program.module()(pictures), restore(net, pictures, path=PATH), atol=1e-5, rtol=0)


def test_export_keeps_the_batch_free_along_a_path(net, pictures):
    batch = ({0: torch.export.Dim("batch")},)
    program = torch.export.export(fixed_path(net, PATH), (pictures,), dynamic_shapes=batch).module()
    for x in (pictures[:1], torch.cat([pictures, pictures])):
        torch.testing.assert_close(program(x), restore(net, x, path=PATH), atol=1e-5, rtol=0)


def test_export_of_the_network_itself_keeps_the_choice(net, pictures):
    dark = pictures * 0.05
    routes = net(pictures, return_trace=True)[1].path, net(dark, return_trace=True)[1].path
    assert not torch.equal(*routes)
    program = torch.export.export(net, (pictures,)).module()
    for x in (pictures, dark):
        torch.testing.assert_close(program(x), net(x), atol=1e-5, rtol=0)


@pytest.mark.filterwarnings("ignore:.*torch.jit.trace:DeprecationWarning")
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_a_trace_would_freeze_the_route_and_is_refused(net, pictures):
    for arguments in ((pictures,), (pictures, torch.zeros(8, dtype=torch.long))):
        with pytest.raises(UserError, match=r"torch.jit.trace.*route.*fixed_path"):
            torch.jit.trace(net, arguments)
    traced = torch.jit.trace(fixed_path(net, PATH), pictures, check_trace=False)
    torch.testing.assert_close(traced(1 - pictures), restore(net, 1 - pictures, path=PATH), atol=1e-5, rtol=0)


@pytest.mark.filterwarnings("ignore")  # those of the exporter
def test_onnx_gives_the_picture_of_restore(net, pictures, tmp_path):
    reason = "needs the extra onnx: pip install 'slerlib[onnx]'"
    pytest.importorskip("onnxscript", reason=reason)
    onnxruntime = pytest.importorskip("onnxruntime", reason=reason)
    file = export_onnx(net, PATH, tmp_path / "net.onnx", size=pictures.shape[2:])
    assert [path.name for path in tmp_path.iterdir()] == ["net.onnx"]
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    for x in (pictures, pictures[:1], pictures * 0.05):  # the last two: another batch, another route if it had one
        (y,) = session.run(["restored"], {"image": x.numpy()})
        assert np.abs(y - restore(net, x, path=PATH).numpy()).max() < 1e-4  # and so well within 1/255


def test_onnx_refuses_what_it_cannot_write(net, tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"at least 16 pixels; got \(2, 3, 8, 64\)"):
        export_onnx(net, PATH, tmp_path / "net.onnx", size=(8, 64))
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(UserError, match=r"onnxscript.*slerlib\[onnx\]"):
        export_onnx(net, PATH, tmp_path / "net.onnx", size=(64, 64))
    assert not list(tmp_path.iterdir())
