"""Ablations: every variant is what it says, stage A is shared, nothing finished runs twice, known intervals."""

import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from slerlib import SLERIR, UserError, checkpoint, config, parameter_counts
from slerlib.ablation import run as ablation
from slerlib.ablation import tables as ablations
from slerlib.cli.parser import build_parser
from slerlib.data.sources import Sources
from slerlib.train import lock, loop, stages

BUDGET = ablation.Budget(stage_a=2, steps=4, images=1, pairs=1)


@pytest.fixture(scope="module")
def photographs():
    noise = torch.Generator().manual_seed(0)
    tiles = [torch.randint(0, 255, (3, 18, 18), generator=noise, dtype=torch.uint8) for _ in range(6)]
    return Sources.photographs([t.repeat(1, 8, 8) for t in tiles], list("abcdef"), "made up")


@pytest.fixture(scope="module")
def val(tmp_path_factory):
    folder = tmp_path_factory.mktemp("val")
    pixels = np.random.default_rng(0).integers(0, 255, (48, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "a.png")
    return folder


@pytest.fixture(scope="module", autouse=True)
def small():
    """The recipe with few held-out views, small batches and small crops."""
    recipe, values = config.recipe, ["data.anchor_scenes=2", "train.batch=2", "train.grid_scenes=2"]
    values += ["model.context=32", "data.crop=16"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(config, "recipe", lambda name: config.with_overrides(recipe(name), values))
        yield


@pytest.fixture(scope="module")
def done(small, photographs, val, tmp_path_factory):
    out = tmp_path_factory.mktemp("ablations")
    names = ["dense", "modal_paths", "plain_sphere"]
    return out, ablation.ablate(photographs, val, out, names, (0,), BUDGET, say=lambda line: None)


def test_the_command_asks_for_the_budget_of_the_function():
    args = build_parser().parse_args(["ablate"])
    asked = ablation.Budget(args.recipe, 600, args.steps, args.lr, args.images, damage=args.damage)
    assert args.stage_a is args.encoder is None and asked == ablation.Budget()


@pytest.mark.parametrize("cost, ratio", [(2.0, 0.5), (0.5, 2.0)])
def test_equal_minutes_are_fewer_steps_of_a_slower_variant(photographs, tmp_path, monkeypatch, cost, ratio):
    """A clock that runs by 1 for a step of SLER-IR, and by `cost` for one of the variant."""
    clock = [0.0]

    def step(self, number, batch):
        clock[0] += cost if self.cfg.model.experts == 1 else 1.0

    monkeypatch.setattr(ablation, "_clock", lambda device: clock[0])
    monkeypatch.setattr(loop.Run, "train_step", step)
    found = ablation._time_ratio(ablation.VARIANTS["dense"], BUDGET, photographs, tmp_path)
    assert found == pytest.approx(ratio)


def test_equal_minutes_know_the_steps_in_which_one_expert_trains_alone(photographs, tmp_path, monkeypatch):
    """SLER-IR at 1 a step while expert 0 trains alone and at 3 afterwards, a dense network always at 1."""
    budget = ablation.Budget(stage_a=2, steps=40, images=1, pairs=1)
    clock, alone = [0.0], stages.upcycle_steps(budget.configured(0, (), 40))

    def step(self, number, batch):
        clock[0] += 1.0 if self.cfg.model.experts == 1 or number < 2 + alone else 3.0

    monkeypatch.setattr(ablation, "_clock", lambda device: clock[0])
    monkeypatch.setattr(loop.Run, "train_step", step)
    found = ablation._time_ratio(ablation.VARIANTS["dense"], budget, photographs, tmp_path)
    assert 2 < alone < 20 and found * 40 == pytest.approx(alone + 3 * (40 - alone))


def test_rows_and_folders(done):
    out, rows = done
    table = ablations.compared(rows)
    assert table.variant.tolist() == ["sler", "modal_paths", "dense", "plain_sphere"]
    assert np.isfinite(table.psnr).all() and np.isnan(table.low).all()  # one seed: no interval
    assert {p.name for p in out.iterdir()} == {
        "ablations.csv", "budget.json", "ablations.lock", "running.lock",
        "stage_a-recipe-0", "stage_a-glgf=off_inject=none-0",
        "sler-0", "dense-0", "plain_sphere-0",
    }  # fmt: skip
    rows = ablations.read(out)
    assert len(rows) == 4 * 8 and rows.groupby("variant").task.nunique().eq(8).all()
    assert rows.torch.eq(torch.__version__).all() and rows.code.str.len().eq(12).all()
    sler, dense = rows[rows.variant == "sler"].iloc[0], rows[rows.variant == "dense"].iloc[0]
    assert sler.active == dense.active == dense.total < sler.total


def test_variants_go_on_from_the_shared_stage_a(done, photographs, tmp_path):
    out, _ = done
    first = checkpoint.load_net(out / "stage_a-recipe-0")[0]
    cfg = BUDGET.configured(0, ("model.experts=1",), 4)
    ablation._begin(cfg, photographs, tmp_path / "begun", out / "stage_a-recipe-0", 2)
    begun = checkpoint.load_net(tmp_path / "begun")[0]
    for name, tensor in begun.state_dict().items():
        if name.startswith(("encoder.", "glgf.")) or name == "router.anchors":
            assert torch.equal(tensor, first.state_dict()[name]), name


def test_what_is_in_the_table_does_not_run_again(done, photographs, val, monkeypatch):
    out, table = done
    monkeypatch.setattr(loop, "train", None)
    again = ablation.ablate(photographs, val, out, ["dense"], (0,), BUDGET, say=print)
    pd.testing.assert_frame_equal(again, table)


def test_an_interrupted_suite_goes_on(photographs, val, tmp_path, monkeypatch):
    evaluate = ablation.evaluate

    def stopped(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(ablation, "evaluate", stopped)
    with pytest.raises(KeyboardInterrupt):
        ablation.ablate(photographs, val, tmp_path, ["sler"], (0,), BUDGET, say=lambda line: None)
    monkeypatch.setattr(ablation, "evaluate", evaluate)
    monkeypatch.setattr(loop, "train", None)  # trained already, only the scores are missing
    rows = ablation.ablate(photographs, val, tmp_path, ["sler"], (0,), BUDGET, say=lambda line: None)
    assert ablations.compared(rows).seeds.item() == 1


@pytest.mark.parametrize("cut", ["stage_a-recipe-0", "sler-0"])
@pytest.mark.parametrize("lost", [("model.safetensors", "card.json"), ("card.json",)])
def test_a_kill_in_the_first_save_is_no_hindrance(done, photographs, val, tmp_path, cut, lost):
    """State is written first, then weights, then the card."""
    for name in {"stage_a-recipe-0", cut}:
        shutil.copytree(done[0] / name, tmp_path / name)
    for file in lost:
        (tmp_path / cut / file).unlink()
    rows = ablation.ablate(photographs, val, tmp_path, ["sler"], (0,), BUDGET, say=lambda line: None)
    whole = done[1][done[1].variant == "sler"]
    assert rows.psnr.tolist() == whole.psnr.tolist() and rows.steps_done.eq(6).all()


def test_a_slower_variant_may_have_few_steps_left():
    """Of 800 steps stage C has a fifth; 60 steps after stage A, as a variant 3 times as slow has them, are all its."""
    budget = ablation.Budget(stage_a=600, steps=200)
    assert budget.configured(0, (), 200).train.stage_steps() == (600, 40, 160)
    assert budget.configured(0, ("model.router=dense",), 60).train.stage_steps() == (600, 0, 60)
    assert budget.configured(0, (), 0).train.stage_steps() == (600, 0, 0)


def test_refusals(done, photographs, val):
    out, _ = done
    with pytest.raises(UserError, match="got nonsense"):
        ablation.ablate(photographs, val, out, ["nonsense"], (0,), BUDGET)
    with pytest.raises(UserError, match="a quarter of --stage-a; got 100 and 600. Raise"):
        ablation.ablate(photographs, val, out / "other", ["sler"], (0,), ablation.Budget(steps=100))
    with pytest.raises(UserError, match="stage_a = 2, this run asks for 3"):
        ablation.ablate(photographs, val, out, ["sler"], (0,), ablation.Budget(stage_a=3, steps=4, images=1, pairs=1))
    with pytest.raises(UserError, match="have val = "):
        ablation.ablate(photographs, "demo", out, ["sler"], (0,), BUDGET)
    with pytest.raises(UserError, match="does not exist"):
        ablation.ablate(photographs, val / "nothing", out / "other", ["sler"], (0,), BUDGET)
    assert not (out / "other").exists()
    with lock.hold(out, "Another"), pytest.raises(UserError, match="another process works in"):
        ablation.ablate(photographs, val, out, ["sler"], (0,), BUDGET)


def test_a_cut_off_training_is_not_taken_over_by_another_budget(photographs, val, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "train", lambda *args, **options: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        ablation.ablate(photographs, val, tmp_path, ["sler"], (0,), BUDGET, say=lambda line: None)
    with pytest.raises(UserError, match="steps = 4, this run asks for 5"):
        ablation.ablate(
            photographs, val, tmp_path, ["sler"], (0,), ablation.Budget(stage_a=2, steps=5, images=1, pairs=1)
        )


@pytest.mark.parametrize("name", [n for n, v in ablation.VARIANTS.items() if not v.of])
def test_every_variant_is_another_network_or_training(name):
    variant, plain = ablation.VARIANTS[name], BUDGET.configured(0, (), 4)
    cfg = BUDGET.configured(0, variant.encoder + variant.rest, 4)
    assert (cfg == plain) == (name == "sler")
    assert parameter_counts(SLERIR(cfg.model))["total"] > 0


def test_the_wide_dense_network_has_the_size_of_three_experts():
    whole, wide = (
        parameter_counts(SLERIR(BUDGET.configured(0, ablation.VARIANTS[name].rest, 4).model))["total"]
        for name in ("sler", "dense_wide")
    )
    assert abs(wide / whole - 1) < 0.02


# --- several damages at once, and damage in a part of the picture


def test_places_are_taught_where_anchors_are_fixed_alone(done):
    for name, variant in ablation.VARIANTS.items():
        cfg = ablation.Budget(damage="mixed").configured(0, (*variant.encoder, *variant.rest), 100)
        assert cfg.train.place_weight == (cfg.model.sude == "anchored"), name
    for settings, sude, weight in (
        ({"recipe": "base"}, "emergent", 0),
        ({"overrides": "model.sude=emergent"}, "emergent", 0),
        ({"overrides": "train.place_weight=3"}, "anchored", 3),
        ({"encoder": str(done[0] / "sler-0"), "stage_a": 0}, "anchored", 1),
    ):
        cfg = ablation.Budget(damage="mixed", **settings).configured(0, (), 100)
        assert (cfg.model.sude, cfg.train.place_weight) == (sude, weight)


def test_a_card_of_a_training_that_is_refused_today_still_loads():
    values = config.to_dict(config.recipe("tiny"))
    values["model"]["sude"] = "emergent"
    assert config.from_dict(config.RunConfig, values).train.place_weight > 0


@pytest.fixture(scope="module")
def of_parts(small, photographs, val, done, tmp_path_factory):
    """Trainings behind the encoder of another training, scored under all kinds of damage."""
    encoder = str(done[0] / "sler-0")
    budget = ablation.Budget(stage_a=0, steps=4, images=1, pairs=1, damage="mixed", encoder=encoder)
    out = tmp_path_factory.mktemp("parts")
    names = ["place", "passes", "place_passes", "place_image"]
    return encoder, out, budget, ablation.ablate(photographs, val, out, names, (0,), budget, say=lambda line: None)


def test_a_suite_of_parts_scores_all_kinds_of_damage(of_parts):
    rows = of_parts[3]
    parts = ablations.kinds(rows)
    assert {name: part.task.nunique() for name, part in parts.items()} == {"uniform": 8, "mixed": 8, "local": 15}
    claims = ablations.claims(rows)
    assert claims.damage.value_counts().to_dict() == {"uniform": 4, "mixed": 4, "local": 4}
    assert set(claims.better) == {"place", "passes", "place_passes"}
    psnr = rows.set_index(["variant", "task"]).psnr.unstack("variant")
    assert not psnr.place.equals(psnr.place_image), "the same training, scored along one path"
    again = ablations.read(of_parts[1])
    assert ablations.compared(ablations.kinds(again)["local"]).psnr.notna().all()


def test_all_trainings_of_a_suite_have_the_encoder_that_is_named(of_parts):
    encoder, out, *_ = of_parts
    theirs = checkpoint.load_net(encoder)[0].state_dict()
    for name in ("sler-0", "place-0"):
        net, card = checkpoint.load_net(out / name)
        assert card["config"]["train"]["stage_a"] == 0 and card["config"]["data"]["local_share"] == 0.35
        own = net.state_dict()
        assert torch.equal(own["router.anchors"], theirs["router.anchors"])
        moved = [key for key in own if key.startswith("stages.") and not torch.equal(own[key], theirs[key])]
        assert moved, "the experts start anew"


def test_what_does_not_fit_an_encoder_that_is_named_is_refused(of_parts, photographs, val, tmp_path):
    encoder = of_parts[0]
    for names, budget, message in (
        (["emergent"], {"encoder": encoder, "stage_a": 0}, "emergent would train another"),
        (["sler"], {"encoder": encoder}, "--stage-a 600 and --encoder"),
        (["sler"], {"stage_a": 0}, r"--stage-a 0 and --encoder \(none\)"),
        (["sler"], {"damage": "rain"}, "uniform, mixed; got 'rain'"),
    ):
        with pytest.raises(UserError, match=message):
            ablation.ablate(photographs, val, tmp_path, names, (0,), ablation.Budget(**budget))
