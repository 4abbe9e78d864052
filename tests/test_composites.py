"""Composites as training targets: reproducible, kept out of the class terms, drawn to the middle of their anchors."""

import json

import pytest
import torch
import trainings

from slerlib import SLERIR, UserError, config, evaluate, sphere
from slerlib.data.degrade import NOISE_CLASSES
from slerlib.data.loader import Batches
from slerlib.data.plan import epoch_plan
from slerlib.model.router import Router
from slerlib.train import held_out, loop, losses, objectives, stages
from slerlib.train.run import Run

CLASSES = config.CLASSES
K = len(CLASSES)


def make(*overrides):
    return trainings.make("model.sude=anchored", *overrides)


@pytest.fixture(scope="module")
def photographs():
    return trainings.made_up()


def batches(sources, share, grid=0, batch=20, classes=CLASSES):
    return Batches(sources, classes, config.DataConfig(crop=16, composite_share=share), 32, batch, 0, grid, 1.0)


def sets(batch):
    return [tuple(CLASSES[k] for k in row.nonzero().flatten().tolist()) for row in batch["parts"]]


# --- drawing them


def test_composites_take_their_share_and_are_two_or_three_kinds(photographs):
    found = batches(photographs, 0.25)
    parts = [found[step] for step in range(8)]
    mixed = [names for batch in parts for names in sets(batch) if len(names) > 1]
    assert len(mixed) == 40 and {len(names) for names in mixed} == {2, 3}
    for names in mixed:
        assert "clean" not in names and sum(name in NOISE_CLASSES for name in names) <= 1
    assert {name for names in mixed for name in names} == {*CLASSES} - {"clean"}
    for batch in parts:
        several = batch["parts"].sum(1) > 1
        assert torch.equal(batch["label"] == K, several) and not batch["real"][several].any()
        assert bool((batch["degraded"][several] - batch["clean"][several]).abs().amax((1, 2, 3)).gt(0.02).all())
    rows = epoch_plan(found)
    assert sum(row["share"] for row in rows) == pytest.approx(1)


def test_single_classes_stay_as_they_are_and_balanced(photographs):
    alone, mixed = batches(photographs, 0.0), batches(photographs, 0.25)
    single = [step[key][step["label"] < K] for step in (mixed[0], mixed[1]) for key in ("degraded",)]
    assert torch.equal(torch.cat(single), torch.cat([alone[0]["degraded"], alone[1]["degraded"]])[:30])
    assert alone[0]["parts"].sum(1).tolist() == [1] * 20


def test_a_grid_has_them_on_top(photographs):
    found, alone = batches(photographs, 0.2, grid=3), batches(photographs, 0.0, grid=3)
    for step in range(3):
        batch = found[step]
        assert len(batch["label"]) == 24 + 6 and batch["label"][24:].tolist() == [K] * 6
        assert torch.equal(batch["degraded"][:24], alone[step]["degraded"])
        assert len(batch["context"]) == 30
    assert not torch.equal(found[0]["degraded"][24:], found[1]["degraded"][24:])


@pytest.mark.parametrize("grid", [0, 3])
def test_workers_and_order_do_not_change_them(photographs, grid):
    alone = list(batches(photographs, 0.3, grid).loader(0, 4))
    many = list(batches(photographs, 0.3, grid).loader(2, 4, workers=2))
    for a, b in zip(alone[2:], many, strict=True):
        assert all(torch.equal(a[key], b[key]) for key in a)


def test_what_has_no_composites_is_refused(photographs):
    with pytest.raises(UserError, match="0..1"):
        config.DataConfig(composite_share=1.0)
    with pytest.raises(UserError, match="promptir has no composites"):
        config.DataConfig(composite_share=0.1, protocol="promptir")
    with pytest.raises(UserError, match="two kinds"):
        batches(photographs, 0.1, classes=("noise15", "noise50", "clean"))


# --- where they belong


def test_the_middle_of_anchors():
    points = sphere.simplex(4)
    members = torch.tensor([[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 1]], dtype=torch.bool)
    found = sphere.middles(points, members)
    torch.testing.assert_close(found[0], points[0])
    torch.testing.assert_close(found[1], sphere.slerp(points[0], points[1], 0.5))
    assert float(found[2].norm()) < 1e-3 or float(points.sum(0).norm()) > 1e-9  # a simplex cancels out
    torch.testing.assert_close(sphere.middles(points, members, linear=True)[1], (points[0] + points[1]) / 2)


def test_the_oracle_takes_sets_of_classes():
    router = Router(make("model.router=oracle").model)
    single = torch.eye(K, dtype=torch.bool)
    assert torch.equal(router.label_paths(single), router.class_paths())
    both = router.class_sets(["rain+haze", "rain"])
    assert both.sum(1).tolist() == [2, 1] and router.class_sets(["rain+snow"]) is None
    path, own = router.label_paths(both)[0], router.class_paths()
    similarity = router.similarity(sphere.slerp(router.anchors[3], router.anchors[4], 0.5)[None])[0]
    for layer in range(8):  # the experts of its classes are equally near: the lower one, whatever the rounding
        best = similarity[layer].max()
        assert path[layer] == min(e for e in range(3) if similarity[layer, e] > best - 1e-4)
    assert bool(((path == own[3]) | (path == own[4])).float().mean() > 0.5) and router.label_paths(both[:1]).equal(
        path[None]
    )
    z = sphere.normalise(torch.randn(2, 16))
    assert torch.equal(router.route(z, labels=both).path, router.label_paths(both))
    assert torch.equal(router.route(z, labels=torch.tensor([3, 4])).path, router.class_paths()[[3, 4]])


def test_evaluation_tells_the_oracle_both(tmp_path):
    net = SLERIR(make("model.router=oracle").model).eval()
    found = evaluate(net, "demo", images=1, classes=["rain+haze", "rain"])
    expected = net.router.label_paths(net.router.class_sets(["rain+haze", "rain"]))
    assert found.path.tolist() == ["".join(map(str, row)) for row in expected.tolist()]


@pytest.mark.parametrize("grid", [0, 3])
def test_processes_share_them(photographs, grid):
    options = (photographs, CLASSES, config.DataConfig(crop=16, composite_share=0.3), 32, 10, 0, grid, 1.0)
    whole, parts = Batches(*options), [Batches(*options, part=(rank, 3)) for rank in range(3)]
    batch, shared = whole[1], [part[1] for part in parts]
    for key in ("degraded", "label", "parts"):
        assert torch.equal(batch[key], torch.cat([part[key] for part in shared]))


# --- what training makes of them


def terms_of(run, step):
    """Terms of a step and the batch they come from."""
    a = run.cfg.train.stage_steps()[0]
    batch = next(iter(run.loader(step, 0)))
    if step < a:
        return objectives.embedding_terms(run.net, run.cfg, batch, step), batch
    draws = stages.draw(run.cfg, step, len(batch["label"]))
    return objectives.restoration_terms(run.net, run.cfg, batch, step, draws)[0], batch


@pytest.mark.parametrize("mode", ["anchored", "emergent", "linear", "ce"])
def test_stage_a_draws_them_to_the_middle_and_only_this_term_sees_them(photographs, tmp_path, mode):
    cfg = make(f"model.sude={mode}", "data.composite_share=0.2", "train.steps=20", "train.stage_a=1", "train.stage_c=0")
    run, step = Run(cfg, photographs, tmp_path, torch.device("cpu")), 19
    run.classifier = None
    batch = next(iter(run.loader(step, 0)))
    single = batch["label"] < K
    classifier = torch.nn.Linear(16, K) if mode == "ce" else None
    terms = objectives.embedding_terms(run.net, cfg, batch, step, classifier)
    z = run.net.glgf(*run.net.encoder(batch["context"])).embedding
    means = torch.stack([z[batch["label"] == k].mean(0) for k in range(K)])
    anchors = run.net.router.anchors if mode == "anchored" else means if mode == "linear" else sphere.normalise(means)
    several = [anchors[row].mean(0) for row in batch["parts"][~single]]
    targets = torch.stack(several) if mode == "linear" else sphere.normalise(torch.stack(several))
    expected = (z[~single] - targets).pow(2).sum(-1).mean() / 2  # on the sphere 1 - z . target
    assert terms["composite"].item() == pytest.approx(expected.item(), rel=1e-4)
    terms["composite"].backward()
    assert max(p.grad.abs().max() for p in run.net.encoder.parameters() if p.grad is not None) > 0

    others = {key: value.item() for key, value in terms.items() if key != "composite"}
    changed = dict(batch)
    changed["context"] = torch.where(single[:, None, None, None], batch["context"], batch["context"].flip(0))
    again = objectives.embedding_terms(run.net, cfg, changed, step, classifier)
    assert {key: again[key].item() for key in others} == pytest.approx(others, rel=1e-5)
    assert again["composite"].item() != pytest.approx(terms["composite"].item(), rel=1e-4)


def test_emergent_means_take_no_gradient_and_come_late(photographs, tmp_path):
    cfg = make(
        "model.sude=emergent", "data.composite_share=0.2", "train.steps=20", "train.stage_a=1", "train.stage_c=0"
    )
    run = Run(cfg, photographs, tmp_path, torch.device("cpu"))
    assert terms_of(run, 0)[0]["composite"].item() == 0 and terms_of(run, 19)[0]["composite"].item() > 0


def test_stage_c_has_the_term_and_stage_b_restores_them(photographs, tmp_path):
    cfg = make("data.composite_share=0.5", "train.steps=10", "train.stage_a=0.2", "train.stage_c=0.5", "train.batch=6")
    run = Run(cfg, photographs, tmp_path, torch.device("cpu"))
    run._prepare(3, "B")
    terms, batch = terms_of(run, 3)
    assert set(terms) == {"restoration"} and (batch["label"] == K).sum() == 3
    terms, batch = terms_of(run, 9)
    single = batch["label"] < K
    z = run.net.encode(batch["degraded"], batch["context"], batch["rows"], batch["place"]).embedding
    pull = losses.composite(z[~single], run.net.router.targets(batch["parts"][~single]))
    rarity = stages.class_weights(cfg)
    own = losses.anchor_cross_entropy(z[single], batch["label"][single], run.net.router.anchors, 0.2, weights=rarity)
    assert terms["composite"].item() == pytest.approx(0.1 * pull.item() / 2, rel=1e-4)  # half of the samples
    assert terms["sude"].item() == pytest.approx(0.1 * own.item() / 2, rel=1e-4)
    nothing = torch.empty(0, 16)
    assert losses.composite(nothing, nothing).item() == 0
    assert (
        losses.anchor_cross_entropy(nothing, torch.empty(0, dtype=torch.long), run.net.router.anchors, 0.2).item() == 0
    )


@pytest.mark.parametrize("router", ["sphere", "oracle"])
def test_a_run_with_them_trains_and_without_is_what_it_was(photographs, tmp_path, router):
    cfg = [f"model.router={router}", "train.steps=6", "train.stage_a=0.34", "train.stage_c=0.34", "train.batch=4"]
    out = loop.train(make(*cfg, "data.composite_share=0.3"), photographs, tmp_path / "with", progress=False)
    steps = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    steps = [record for record in steps if "loss" in record]
    assert [("composite" in record) for record in steps] == [True, True, False, False, True, True]
    run = Run(make(*cfg, "data.composite_share=0.3"), photographs, tmp_path, torch.device("cpu"))
    assert (held_out.grid(run.cfg, run.held_out, 2, seed=1)[0]["label"] < K).all()  # anchors are of single classes
