"""What a camera does in training: blur by measured kernels, low light with the ranges of LOL pairs."""

import numpy as np
import pytest
import torch
import trainings
from PIL import Image

from slerlib import UserError, config, degrade, psnr
from slerlib.data.camera import measured_kernel, scaled_kernel
from slerlib.data.check import as_text, check
from slerlib.data.degrade import kernel_of_severity
from slerlib.data.loader import Batches
from slerlib.data.plan import follows
from slerlib.data.scenes import photographs
from slerlib.data.sources import Sources
from slerlib.train.run import Run

CLASSES = ("blur", "lowlight", "clean")


def track(side=17):
    """A kernel of 16 bits like a measured one: a bent track."""
    kernel = np.zeros((side, side), np.uint16)
    for n in range(3, side - 3):
        kernel[n, side // 2 + (n - side // 2) ** 2 // 12] = 20_000 + 2_000 * n
    return kernel


@pytest.fixture
def folder(tmp_path):
    """Five photographs and a kernel."""
    (tmp_path / "kernels").mkdir()
    Image.fromarray(track()).save(tmp_path / "kernels" / "k1.png")
    for n in range(5):
        pixels = np.random.default_rng(n).integers(0, 255, (48, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{n}.png")
    return tmp_path


def batches(sources, **data):
    cfg = config.DataConfig(**{"crop": 32, "clean_share": 0.1, "local_share": 0.5, **data})
    return Batches(sources, CLASSES, cfg, 48, 16, 0, 0, 1.0)


def of(kernels):
    """Made-up photographs with measured kernels."""
    photos = trainings.made_up()
    return Sources(photos.sets, "made up", kernels=tuple((str(n), kernel) for n, kernel in enumerate(kernels)))


# --- kernels


@pytest.mark.parametrize("severity", [0.2, 0.5, 1.0])
def test_a_measured_kernel_costs_what_its_severity_costs(severity):
    """On natural photographs, beside the kernels that are drawn; turned and mirrored in any way."""
    kernel, scores = torch.from_numpy(track().astype(np.float32)), {"measured": [], "drawn": []}
    for scene in photographs():
        clean = scene.image[:, :200, :200].contiguous()
        for seed in range(4):
            mine = kernel_of_severity(kernel, severity, np.random.default_rng(seed))
            assert mine.sum().item() == pytest.approx(1) and min(mine.shape) % 2 == 1 and max(mine.shape) <= 81
            scores["measured"].append(psnr(degrade(clean, "blur", severity, seed, kernel=mine), clean))
            scores["drawn"].append(psnr(degrade(clean, "blur", severity, seed), clean))
    assert np.mean(scores["measured"]) == pytest.approx(np.mean(scores["drawn"]), abs=1)


def test_a_scaled_kernel_keeps_its_form_without_gaps():
    kernel = np.zeros((15, 15), np.float32)
    kernel[7, 2:13] = 1  # a line
    for seed in range(6):
        large = scaled_kernel(kernel, np.random.default_rng(seed), 0.12)
        weight = large / large.sum()
        y, x = np.mgrid[: len(large), : len(large)] - len(large) // 2
        assert abs((weight * y).sum()) < 0.1 and abs((weight * x).sum()) < 0.1, "it does not shift the picture"
        scatter = np.linalg.eigvalsh(np.cov(np.stack([y.ravel(), x.ravel()]), aweights=weight.ravel()))
        assert scatter[1] > 40 * scatter[0], "a line stays a line"
        along = np.sort(large[large > large.max() / 3])
        assert along[0] > 0 and len(along) > 1.2 * np.sqrt(12 * scatter[1])


def test_only_blur_changes_and_no_share_keeps_every_bit():
    kernels = [torch.from_numpy(track().astype(np.float32))]
    plain, aside, taken = batches(of([])), batches(of(kernels)), batches(of(kernels), kernel_share=1.0)
    changed = 0
    for step in range(3):
        before, same, after = plain[step], aside[step], taken[step]
        assert all(torch.equal(before[key], same[key]) for key in before)
        blurred = after["parts"][:, 0] | after["outside"][:, 0]
        rows = torch.tensor([torch.equal(*row) for row in zip(before["degraded"], after["degraded"], strict=True)])
        assert rows[~blurred].all() and torch.equal(before["clean"], after["clean"])
        changed += int((~rows).sum())
    assert changed > 8
    again = next(iter(taken.loader(2, 3, workers=1)))
    assert all(torch.equal(again[key], after[key]) for key in after)


def test_kernels_are_found_counted_and_printed(folder):
    report = check(folder)
    kinds = {s.task: len(s.items) for s in report.data.sets}
    assert kinds == {"noise": 5, "kernel": 1} and report.ok and "data.kernel_share" in as_text(report)
    aside, taken = Sources.of(folder), Sources.of(folder, kernels=True)
    assert aside.kernels == () and "1 measured blur kernels are set aside: data.kernel_share=0" in aside.notes
    assert [s.task for s in taken] == ["noise"] and aside.fingerprint() != taken.fingerprint()
    assert torch.equal(taken.kernels[0][1], measured_kernel(folder / "kernels" / "k1.png"))
    training, held_out = taken.hold_out(2)
    assert len(training.kernels) == len(held_out.kernels) == 1
    line = "blur: real pairs 0.0%, measured kernels 25.0%, drawn kernels 75.0%"
    assert follows(batches(training, kernel_share=0.25)) == [line] and follows(batches(training)) == []


def test_a_photograph_among_the_kernels_is_named(folder):
    Image.fromarray(np.full((200, 200), 90, np.uint8)).save(folder / "kernels" / "photo.png")
    with pytest.raises(UserError, match="at most 63 pixels .* Is it a photograph"):
        Sources.of(folder, kernels=True)
    assert [(p.kind, p.path.name) for p in check(folder).problems] == [("unfit-kernel", "photo.png")]


def test_a_share_without_a_kernel_is_refused(tmp_path):
    cfg = trainings.make("data.kernel_share=0.5")
    with pytest.raises(UserError, match="in a folder named kernels .* made up has none"):
        Run(cfg, of([]), tmp_path, torch.device("cpu"))


# --- the dark


def test_the_dark_of_lol_keeps_severity_and_differs_as_the_pairs_do():
    """The error stays that of the severity; curves are steeper, and a part of the noise is grey."""
    grey, kept = torch.full((3, 96, 96), 0.5), {"wide": [], "lol": []}
    errors, common, noise = ({"wide": [], "lol": []} for _ in range(3))
    ramp = torch.linspace(0.05, 0.95, 96).expand(3, 96, 96).contiguous()
    for dark in kept:
        for seed in range(40):
            scene = photographs()[seed % 9].image[:, :64, :64].contiguous()
            errors[dark].append(psnr(degrade(scene, "lowlight", 0.5, seed, dark=dark), scene))
            flat = degrade(grey, "lowlight", 0.5, seed, dark=dark)
            rest = flat - flat.mean((1, 2), keepdim=True)
            noise[dark].append(rest.std().item())
            common[dark].append((rest.mean(0).var() / rest.var()).item())
            values = degrade(ramp, "lowlight", 0.5, seed, dark=dark).mean((0, 1))
            kept[dark].append((values[80] / values[20]).log().item())
    assert np.mean(errors["lol"]) == pytest.approx(np.mean(errors["wide"]), abs=1.0)
    assert np.median(noise["lol"]) > 1.4 * np.median(noise["wide"])
    assert np.median(common["wide"]) == pytest.approx(1 / 3, abs=0.02) and np.median(common["lol"]) > 0.4
    assert np.median(kept["lol"]) > np.median(kept["wide"]) + 0.1


def test_the_option_reaches_low_light_alone():
    old, new = batches(of([])), batches(of([]), dark="lol")
    changed = 0
    for step in range(2):
        before, after = old[step], new[step]
        rows = torch.tensor([torch.equal(*row) for row in zip(before["degraded"], after["degraded"], strict=True)])
        dark = after["parts"][:, 1] | after["outside"][:, 1]
        assert rows[~dark].all()
        changed += int((~rows).sum())
    assert changed > 4
    with pytest.raises(UserError, match="dark is one of wide, lol; got 'night'"):
        degrade(torch.zeros(3, 8, 8), "lowlight", 0.5, dark="night")
    with pytest.raises(UserError, match="data.dark must be one of wide, lol"):
        config.DataConfig(dark="night")
