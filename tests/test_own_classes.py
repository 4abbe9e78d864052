"""Own pairs become a class: trained on, and nothing that the weights could before is lost."""

import numpy as np
import pytest
import torch
from PIL import Image
from trainings import SMALL, write_photographs

from slerlib import UserError, config, load, restore, sphere
from slerlib.config import CLASSES
from slerlib.data.scenes import photographs
from slerlib.model.router import Router
from slerlib.train import own_classes, stages
from slerlib.train.loop import train

QUICK = ["data.crop=32", "train.batch=4", "train.steps=2"]
SCENES = [np.asarray(s.image.permute(1, 2, 0).mul(255).byte()) for s in photographs()[:4]]


def scanned(pixels):
    """A degradation that no class has: a colour cast and lifted blacks."""
    return (((pixels / 255 * [1, 0.9, 0.65]) * 0.75 + 0.1) * 255).round().astype(np.uint8)


def pairs(root, name="scanner", damage=scanned, count=6):
    for n in range(count):
        pixels = SCENES[n % 4][40 * (n // 4) :, 60 * (n // 4) :][:96, :96]
        for side, image in (("input", damage(pixels)), ("target", pixels)):
            (root / name / "train" / side).mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(root / name / "train" / side / f"{n}.png")
    return root


@pytest.fixture(autouse=True)
def few_images(monkeypatch):
    monkeypatch.setattr(own_classes, "OWN", 12)
    monkeypatch.setattr(own_classes, "OTHERS", 6)


def tuned(data, out, *overrides, init="tiny", **options):
    cfg = config.with_overrides(config.recipe("tiny"), [*QUICK, *overrides])
    return train(cfg, data, out, init=init, progress=False, **options)


@pytest.fixture(scope="module")
def scanner(tmp_path_factory):
    root = tmp_path_factory.mktemp("own")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(own_classes, "OWN", 12)
        patch.setattr(own_classes, "OTHERS", 6)
        return tuned(pairs(root / "data"), root / "run")


def test_an_own_class_joins_and_the_weights_before_keep_every_bit(scanner):
    before, after = load("tiny", "cpu"), load(scanner, "cpu")
    assert after.cfg.classes == (*CLASSES, "scanner") and after.cfg.own_classes == 1 and after.cfg.experts == 4
    state = after.state_dict()
    for key, value in before.state_dict().items():
        part = {"router.anchors": state[key][:8], "router.pins": state["router.pins"][:, :3]}.get(key, state[key])
        assert torch.equal(part, value), key
    anchor = after.router.anchors[8]
    assert float((after.router.anchors[:8] @ anchor).abs().max()) < 1e-5 and float(anchor.norm()) == pytest.approx(1)
    assert torch.equal(after.router.pins[:, 3], anchor.expand(8, -1))
    paths = after.router.class_paths()
    assert paths[8].tolist() == [3] * 8 and torch.equal(paths[:8], before.router.class_paths())


def test_its_experts_start_on_a_path_of_before_and_are_trained(scanner):
    state, before = load(scanner, "cpu").state_dict(), load("tiny", "cpu").state_dict()
    for n in range(8):
        key = next(key for key in state if key.startswith(f"stages.{n}.experts.3.0.") and state[key].ndim == 4)
        gaps = [float((state[key] - before[key.replace("experts.3", f"experts.{e}")]).abs().max()) for e in range(3)]
        assert 0 < min(gaps) < 0.01


def test_where_the_gate_is_closed_the_picture_keeps_every_bit(scanner):
    before, after = load("tiny", "cpu"), load(scanner, "cpu")
    with torch.no_grad():
        for gate in after.own.gates:
            gate.layers[-1].bias.fill_(-1e3)
    x = photographs()[5].image[:, :96, :120]
    (a, one), (b, two) = (restore(net, x, return_trace=True) for net in (before, after))
    assert torch.equal(a, b) and torch.equal(one.path, two.path) and torch.equal(one.embedding, two.embedding)
    with torch.no_grad():
        after.own.gates[0].layers[-1].bias.fill_(1e3)
    trace = restore(after, x, return_trace=True)[1]
    assert trace.path_strings() == ["33333333"] and trace.nearest_anchor() == ["scanner"]


def test_inputs_and_targets_are_both_used(tmp_path, capsys):
    runs = [tuned(pairs(tmp_path / name, damage=damage), tmp_path / f"run_{name}")
            for name, damage in (("a", scanned), ("b", np.zeros_like))]  # fmt: skip
    a, b = (load(run, "cpu").state_dict() for run in runs)
    assert any(not torch.equal(a[key], b[key]) for key in a)
    text = capsys.readouterr().err
    assert "gate of scanner: opens for 100" in text and "train.stage_c=0" in text
    row = next(line.split() for line in text.splitlines() if line.startswith("scanner "))
    assert row[:4] == ["scanner", "scanner", "5", "5"] and "pairs" in row  # one of the six is held out


def test_it_resumes_and_a_second_class_joins_the_first(scanner, tmp_path):
    root = pairs(tmp_path / "more", "faded", lambda x: 255 - (255 - x) // 2)
    run = tuned(root, tmp_path / "two", init=scanner)
    net, first = load(run, "cpu"), load(scanner, "cpu")
    assert net.cfg.classes[8:] == ("scanner", "faded") and net.cfg.own_classes == 2 and net.cfg.experts == 5
    kept = {k: v for k, v in first.state_dict().items() if k.startswith(("stages", "own", "encoder"))}
    assert all(torch.equal(net.state_dict()[key], value) for key, value in kept.items())
    assert float(net.router.anchors[8] @ net.router.anchors[9]) == pytest.approx(0, abs=1e-5)
    before = (run / "model.safetensors").read_bytes()
    tuned(root, run, init=scanner, resume=True)
    assert (run / "model.safetensors").read_bytes() == before


def test_weights_with_own_classes_and_data_without_them(scanner, tmp_path):
    data = write_photographs(tmp_path / "data")
    with pytest.raises(UserError, match=r"scanner.*has no pairs of these classes.*train\.own_only=false"):
        tuned(data, tmp_path / "run", init=scanner)
    run = tuned(data, tmp_path / "run", "train.own_only=false", "train.stage_a=0.5", init=scanner)
    net, first = load(run, "cpu"), load(scanner, "cpu")
    assert torch.equal(net.router.anchors, first.router.anchors) and net.cfg.classes == first.cfg.classes
    assert any(not torch.equal(v, first.state_dict()[k]) for k, v in net.state_dict().items() if "encoder" in k)


def test_anchors_of_own_classes_stay_when_stage_a_is_resumed(scanner, tmp_path, monkeypatch):
    data = write_photographs(tmp_path / "data")
    values = ["train.own_only=false", "train.stage_a=0.5", "train.save_every=1"]
    monkeypatch.setattr(stages, "stage_of", lambda step, t, of=stages.stage_of: 1 / 0 if step == 2 else of(step, t))
    with pytest.raises(ZeroDivisionError):
        tuned(data, tmp_path / "run", *values, "train.steps=4", init=scanner)
    monkeypatch.undo()
    run = tuned(data, tmp_path / "run", *values, "train.steps=4", init=scanner, resume=True)
    assert torch.equal(load(run, "cpu").router.anchors, load(scanner, "cpu").router.anchors)


def test_own_classes_have_no_stage_a(tmp_path):
    with pytest.raises(UserError, match=r"scanner.*stage A trains the encoder.*train\.stage_a=0\.5"):
        tuned(pairs(tmp_path / "data"), tmp_path / "run", "train.stage_a=0.5")


def test_pairs_that_own_classes_leave_aside_are_an_error_unless_allowed(tmp_path, capsys):
    root = pairs(pairs(tmp_path / "data"), "rain")
    with pytest.raises(UserError, match=r"rain has pairs of rain, and own classes alone train.*--allow rain"):
        tuned(root, tmp_path / "run")
    tuned(root, tmp_path / "run", allow=["rain"])
    row = next(line for line in capsys.readouterr().err.splitlines() if line.startswith("rain "))
    assert row.endswith("not used")


def test_resuming_with_other_pictures_of_equal_name_and_size_names_the_images(scanner, tmp_path):
    root = pairs(tmp_path / "data")
    run = tuned(root, tmp_path / "run")
    file = next(root.rglob("target/0.png"))
    pixels = np.asarray(Image.open(file))
    Image.fromarray(pixels).save(file, compress_level=0)
    run = tuned(root, tmp_path / "run", overwrite=True)
    size = file.stat().st_size
    Image.fromarray(pixels[::-1]).save(file, compress_level=0)
    assert file.stat().st_size == size
    with pytest.raises(UserError, match=r"images in .*data or their names have changed"):
        tuned(root, run, resume=True)


@pytest.mark.parametrize("kind", [torch.half, torch.bfloat16, torch.double])
def test_other_precisions_open_the_same_gate(scanner, kind):
    net, x = load(scanner, "cpu"), torch.from_numpy(scanned(SCENES[0][:96, :96])).permute(2, 0, 1) / 255
    (a, one), (b, two) = (restore(n, x, return_trace=True) for n in (net, load(scanner, "cpu").to(kind)))
    assert torch.equal(one.path, two.path) and float((a - b).abs().max()) < 0.05
    assert {p.dtype for p in net.to(kind).own.parameters()} == {torch.float32}


def test_from_nothing_it_is_a_class_as_all_others(tmp_path):
    cfg = config.with_overrides(config.recipe("tiny"), SMALL)
    net = load(train(cfg, pairs(tmp_path / "data", count=8), tmp_path / "run", progress=False), "cpu")
    assert net.cfg.classes == (*CLASSES, "scanner") and net.cfg.own_classes == 0 and net.cfg.experts == 3


def test_a_set_of_no_class_is_an_error_unless_it_is_allowed(tmp_path):
    root = pairs(tmp_path / "data")
    (root / "scanner").rename(root / "cdd11")
    (root / "cdd11/train/input").rename(root / "cdd11/train/low_haze")
    (root / "cdd11/train/target").rename(root / "cdd11/train/clear")
    cfg = config.with_overrides(config.recipe("tiny"), [*SMALL, "train.steps=1", "train.stage_a=0", "train.stage_c=0"])
    with pytest.raises(UserError, match=r"cdd11 has pairs of lowlight\+haze.*--allow cdd11"):
        train(cfg, root, tmp_path / "run", progress=False)
    train(cfg, root, tmp_path / "run", progress=False, allow=["cdd11"])


def test_more_classes_than_directions_are_refused(tmp_path):
    cfg = config.with_overrides(config.recipe("tiny"), [*SMALL, "model.embedding=8"])
    with pytest.raises(UserError, match=r"got 8 for 9 classes"):
        train(cfg, pairs(tmp_path / "data"), tmp_path / "run", progress=False)


def test_the_anchor_is_at_right_angles_and_nearest_to_its_images():
    router = load("tiny", "cpu").router
    z = sphere.normalise(torch.randn(20, 64, generator=torch.Generator().manual_seed(0)))

    wider = ["model.classes=" + ",".join((*CLASSES, "x")), "model.experts=4"]
    grown = Router(config.with_overrides(config.recipe("tiny"), wider).model)
    grown.anchors[:8] = router.anchors
    grown.place_own(8, 3, z)
    best = z.mean(0) - router.anchors.T @ (torch.linalg.pinv(router.anchors.T, rtol=1e-4) @ z.mean(0))
    assert torch.allclose(grown.anchors[8], sphere.normalise(best), atol=1e-4)
    grown.place_own(8, 3, router.anchors[:2])  # no part outside the span: any such direction
    assert float((grown.anchors[:8] @ grown.anchors[8]).abs().max()) < 1e-5
