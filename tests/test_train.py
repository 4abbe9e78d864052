"""The training loop: stages, resume, checkpoints, refusals."""

import dataclasses
import json
import math
import shutil
import time

import pytest
import torch
from trainings import made_up, make, records, start, write_photographs

from slerlib import UserError, checkpoint, config, load, save, sphere
from slerlib.data.sources import Source, Sources
from slerlib.model.network import SLERIR
from slerlib.model.pins import partitions
from slerlib.train import batches, held_out, looks, loop, objectives, stages, transitions
from slerlib.train import run as run_module


@pytest.fixture(scope="module")
def photographs():
    return made_up()


def weights(folder):
    return checkpoint.load_net(folder)[0].state_dict()


@pytest.fixture(scope="module")
def finished(photographs, tmp_path_factory):
    return loop.train(make(), photographs, tmp_path_factory.mktemp("run") / "whole", progress=False)


def test_the_log_has_every_step(finished):
    steps = [r for r in records(finished) if "loss" in r]
    assert [r["step"] for r in steps] == list(range(12))
    assert "".join(r["stage"] for r in steps) == "AAAABBBBBCCC"
    assert set(steps[0]) >= {"supcon", "triplet", "uniformity", "consistency", "grad_norm", "lr", "seconds"}
    assert set(steps[-1]) >= {"restoration", "sude", "class_path"}
    assert all(r["lr"] > 0 for r in steps)
    assert [r["validation"] for r in records(finished) if "validation" in r][-1].keys() == set(config.CLASSES)
    assert any("anchor_accuracy" in r for r in records(finished))


def test_the_folder_holds_weights_card_and_state(finished):
    assert {p.name for p in finished.iterdir()} == {
        "model.safetensors",
        "card.json",
        "state.pt",
        "log.jsonl",
        "config.json",
        "running.lock",
    }
    net, card = checkpoint.load_net(finished)
    assert card["steps_done"] == 12 and card["config"]["model"]["width"] == 8
    assert not net.training and isinstance(load(finished), torch.nn.Module)
    assert config.from_json((finished / "config.json").read_text()) == make()


def test_resume_gives_the_same_bits(photographs, finished, tmp_path):
    """Stopped in each stage, and again after it: the end is bit-identical to the uninterrupted run."""
    out = tmp_path / "parts"
    for stop in (2, 5, 8, 10):
        run_until(photographs, out, stop)
    loop.train(make(), photographs, out, resume=True, progress=False)
    whole, parts = weights(finished), weights(out)
    assert all(torch.equal(whole[key], parts[key]) for key in whole)
    drop = ("seconds",)
    clean = [
        [{k: v for k, v in r.items() if k not in drop} for r in records(f) if "loss" in r] for f in (finished, out)
    ]
    assert clean[0] == clean[1]


@pytest.mark.parametrize("restored", [True, False])
def test_resume_takes_up_the_random_draws(photographs, tmp_path, monkeypatch, restored):
    """Step 4 draws experts and steps 9 to 11 draw what else to try: without the saved generator they would differ."""
    cfg = make("train.upcycle=0", "train.exploration=0.9", "train.counterfactual=0.5", "train.learn_pins=true")
    whole = loop.train(cfg, photographs, tmp_path / "whole", progress=False)
    run_until(photographs, tmp_path / "parts", 10, cfg)
    if not restored:
        monkeypatch.setattr(torch, "set_rng_state", lambda state: None)
    parts = loop.train(cfg, photographs, tmp_path / "parts", resume=True, progress=False)
    ours, theirs = weights(whole), weights(parts)
    assert all(torch.equal(ours[key], theirs[key]) for key in ours) == restored


def run_until(photographs, out, stop, cfg=None, init=None):
    """Run, and die just before step `stop` without any chance to clean up the run's state."""

    class Stop(BaseException):
        pass

    original = run_module.Run.train_step

    def dying(self, step, batch):
        if step == stop:
            raise Stop
        return original(self, step, batch)

    run_module.Run.train_step = dying
    try:
        loop.train(cfg or make(), photographs, out, resume=(out / "state.pt").exists(), init=init, progress=False)
    except Stop:
        pass
    finally:
        run_module.Run.train_step = original
    if not (out / "state.pt").exists():
        shutil.rmtree(out)


@pytest.fixture(scope="module")
def with_pairs(photographs):
    """The photographs, and 8 pairs of rain whose clean sides are these photographs turned by 180 degrees."""
    targets = [x.flip(1, 2) for x in photographs.sets[0].targets]
    rain = Source("streets", "rain", tuple("stuvwxyz"), targets, [x // 2 + 60 for x in targets])
    return Sources([*photographs, rain], "made up pairs")


def test_real_pairs_train_and_resume_with_workers(with_pairs, photographs, tmp_path, capsys):
    cfg = make("data.repeats=rain=3")
    whole = loop.train(cfg, with_pairs, tmp_path / "whole", progress=False)
    printed = capsys.readouterr().err
    assert "streets" in printed and "samples/epoch" in printed and "real ones among them" in printed
    data = checkpoint.load_net(whole)[1]["data"]
    assert [(s["set"], s["items"], s["repeats"]) for s in data["sets"]] == [("made up", 6, 1), ("streets", 7, 3)]
    assert data["samples_per_epoch"] == 6 + 21 and data["fingerprint"] == with_pairs.fingerprint()
    assert data["held_out"] == 3
    validation = [r["validation"] for r in records(whole) if "validation" in r][-1]
    assert validation.keys() == {*config.CLASSES, "rain (real)"}

    run_until(with_pairs, tmp_path / "parts", 6, cfg)
    with pytest.raises(UserError, match="resumes with the data it began with"):
        loop.train(cfg, photographs, tmp_path / "parts", resume=True, progress=False)
    loop.train(cfg, with_pairs, tmp_path / "parts", resume=True, progress=False, workers=2)
    first, second = weights(whole), weights(tmp_path / "parts")
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_promptir_protocol_trains(with_pairs, tmp_path):
    classes = "model.classes=noise15,noise25,noise50,rain"
    cfg = make(classes, "train.steps=6", "train.save_every=6", "data.protocol=promptir", "data.repeats=noise=3,rain=8")
    out = loop.train(cfg, with_pairs, tmp_path / "run", progress=False)
    assert all(math.isfinite(r["loss"]) for r in records(out) if "loss" in r)
    assert checkpoint.load_net(out)[1]["data"]["samples_per_epoch"] == 6 * 9 + 7 * 8


def test_resume_at_the_upcycling_step(photographs, tmp_path):
    """A save on the very step that copies the experts: they must not be copied, with new noise, a second time."""
    cfg = make("train.save_every=6")  # stage A ends at 4, expert 0 is alone for 2 steps
    whole = loop.train(cfg, photographs, tmp_path / "whole", progress=False)
    run_until(photographs, tmp_path / "parts", 8, cfg)
    loop.train(cfg, photographs, tmp_path / "parts", resume=True, progress=False)
    first, second = weights(whole), weights(tmp_path / "parts")
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_each_stage_moves_what_it_should(photographs, tmp_path):
    run = run_module.Run(make("train.upcycle=0", "train.learn_pins=true"), photographs, tmp_path, torch.device("cpu"))
    tmp_path.mkdir(exist_ok=True)
    moved = {}
    for step in (0, 1, 5, 6, 10, 11):
        before = {k: v.clone() for k, v in run.net.named_parameters()}
        if step == 5:
            transitions.finish_stage_a(run)
        batch = next(iter(run.loader(step, 0)))
        start = {k: v.clone() for k, v in run.net.named_parameters()} if step == 5 else before
        stage = run.train_step(step, batch)["stage"]
        changed = {k.split(".")[0] for k, v in run.net.named_parameters() if not torch.equal(v, start[k])}
        moved.setdefault(stage, set()).update(changed)
    assert moved["A"] == {"encoder", "glgf"}
    upstream = {k for k in moved["B"] if k in ("encoder", "router")}
    assert not upstream and {"stages", "injections", "intro", "outro"} <= moved["B"]
    assert {"encoder", "router", "stages", "glgf"} <= moved["C"]
    torch.testing.assert_close(run.net.router.pins.norm(dim=-1), torch.ones(8, 3))


def test_anchors_come_from_held_out_scenes_and_pins_from_anchors(photographs, tmp_path):
    run = run_module.Run(make(), photographs, tmp_path, torch.device("cpu"))
    before = run.net.router.anchors.clone()
    transitions.finish_stage_a(run)
    anchors = run.net.router.anchors
    assert not torch.allclose(anchors, before)
    z, labels, _ = held_out.embeddings(run.cfg, run.held_out, run.net.eval(), 3, run.device)
    torch.testing.assert_close(anchors, sphere.centroids(z, labels, 8))
    group = partitions(8, 3)[4][2]
    torch.testing.assert_close(run.net.router.pins[4, 2], sphere.normalise(anchors[group].sum(0)))
    assert torch.equal(run.ema.router.pins, run.net.router.pins)


def test_upcycling_copies_the_first_expert(photographs, tmp_path):
    run = run_module.Run(make(), photographs, tmp_path, torch.device("cpu"))
    for step in (4, 5):
        run.train_step(step, next(iter(run.loader(step, 0))))
    stage = run.net.stages[3]
    first, second = (dict(stage.experts[e].named_parameters()) for e in (0, 1))
    untouched = {k: v.clone() for k, v in second.items()}
    assert not torch.allclose(first["0.expand.weight"], second["0.expand.weight"])
    transitions.upcycle(run)
    for key, value in first.items():
        torch.testing.assert_close(second[key], value, rtol=1e-2, atol=1e-6)
    assert not torch.equal(untouched["0.expand.weight"], second["0.expand.weight"])
    assert not torch.equal(first["0.expand.weight"], second["0.expand.weight"])  # the noise breaks the tie
    moments = run.optimiser.state
    assert torch.equal(moments[second["0.expand.weight"]]["exp_avg"], moments[first["0.expand.weight"]]["exp_avg"])


@pytest.mark.parametrize(
    "overrides",
    [
        ["model.sude=anchored"],
        ["model.sude=linear"],
        ["model.sude=ce"],
        ["model.router=oracle"],
        ["model.router=dense"],
        ["model.router=sphere_stage", "train.learn_pins=true"],
        ["model.router=linear"],
        ["model.router=random"],
        ["model.experts=1"],
        ["model.glgf=off", "model.inject=none"],
        ["train.counterfactual=1", "train.learn_pins=true"],
        ["train.stage_a=0", "train.stage_c=0"],
        ["train.context_share=0.5", "model.block=restormer"],
    ],
)
def test_every_variant_trains(photographs, tmp_path, overrides):
    out = loop.train(
        make("train.steps=6", "train.save_every=6", *overrides), photographs, tmp_path / "run", progress=False
    )
    steps = [r for r in records(out) if "loss" in r]
    assert len(steps) == 6 and all(math.isfinite(r["loss"]) for r in steps)


def test_stage_c_weighs_every_class_alike(photographs):
    """Clean photographs are few in stages B and C; over a whole turn of labels each class has the same weight."""
    cfg = make("data.clean_share=0.05")
    labels = torch.tensor(batches.batches(cfg, photographs).cycle)
    weights, k = stages.class_weights(cfg), len(cfg.model.classes)
    clean = cfg.model.classes.index("clean")
    assert weights[clean] > 2 and (weights[[n for n in range(k) if n != clean]] < 1).all()
    together = torch.bincount(labels, weights[labels], minlength=k)
    torch.testing.assert_close(together, together.mean().expand(k))
    assert together.sum().item() == pytest.approx(len(labels), rel=1e-5)  # the term as a whole counts as before


def test_counterfactual_moves_the_pins(photographs, tmp_path):
    run = run_module.Run(
        make("train.counterfactual=1", "train.learn_pins=true"), photographs, tmp_path, torch.device("cpu")
    )
    batch = next(iter(run.loader(11, 0)))
    run._prepare(11, "C")
    losses, _ = objectives.restoration_terms(run.net, run.cfg, batch, 11, stages.draw(run.cfg, 11, 4))
    losses["counterfactual"].backward()
    assert run.net.router.pins.grad.abs().max() > 0


def test_random_experts_belong_to_stage_b_alone():
    cfg = make("train.exploration=1", "train.upcycle=0")
    first_b, first_c = cfg.train.stage_steps()[0], sum(cfg.train.stage_steps()[:2])
    assert stages.draw(cfg, first_b, 4).explore.all() and stages.draw(cfg, first_c, 4).explore is None
    without_b = make("train.exploration=1", "train.upcycle=0", "train.stage_a=0", "train.stage_c=1")
    assert stages.draw(without_b, 0, 4).explore is None  # as in a warm start straight into stage C


@pytest.mark.parametrize("router", ["random", "oracle", "sphere_stage", "sphere"])
def test_an_expert_of_probability_zero_may_be_taken(photographs, tmp_path, router):
    """Off the sphere pins may lie so far apart that a softmax gives 0; a path, or another expert tried, may be that."""
    values = ["model.sude=linear", f"model.router={router}", "train.counterfactual=1", "train.exploration=1"]
    run = run_module.Run(make(*values), photographs, tmp_path, torch.device("cpu"))
    with torch.no_grad():
        run.net.router.pins.copy_(60 * torch.randn_like(run.net.router.pins))
    batch = next(iter(run.loader(11, 0)))
    draws = dataclasses.replace(stages.draw(run.cfg, 11, 4), explore=torch.ones(4, 8, dtype=torch.bool))
    draws = dataclasses.replace(draws, anywhere=torch.arange(32).view(4, 8) % 3)
    run._prepare(11, "C")
    losses, trace = objectives.restoration_terms(run.net, run.cfg, batch, 11, draws)
    assert (trace.probability == 0).any()
    assert all(loss.isfinite() for loss in losses.values()), losses
    sum(losses.values()).backward()
    assert all(p.grad.isfinite().all() for p in run.net.parameters() if p.grad is not None)


def test_a_loss_that_is_not_finite_stops_the_run(photographs, tmp_path):
    run = run_module.Run(make(), photographs, tmp_path, torch.device("cpu"))
    batch = next(iter(run.loader(5, 0)))
    batch["degraded"][0, 0, 0, 0] = math.nan
    before = {k: v.clone() for k, v in run.net.state_dict().items()}
    printed = (
        r"step 5 of stage B \(restoration = nan\). Steps 0 to 5 are lost; there was no checkpoint yet. The 4 samples"
    )
    with pytest.raises(FloatingPointError, match=printed):
        run.train_step(5, batch)
    assert all(torch.equal(before[k], v) for k, v in run.net.state_dict().items())
    assert torch.load(tmp_path / "nonfinite.pt")["label"].tolist() == batch["label"].tolist()


def test_pieces_that_are_not_finite_are_saved_alone(photographs, tmp_path):
    """Of 4 pieces the second is bad: its sample alone is saved. A gradient is refused like a loss."""
    run = run_module.Run(make("train.accumulate=4"), photographs, tmp_path, torch.device("cpu"))
    run.saved_at = 4
    batch = next(iter(run.loader(5, 0)))
    spoilt = {key: value.clone() for key, value in batch.items()}
    spoilt["clean"][1, 0, 0, 0] = math.inf
    before = {k: v.clone() for k, v in run.net.state_dict().items()}
    with pytest.raises(FloatingPointError, match="Steps 4 to 5 are lost; the checkpoint of step 4 is whole. The 1 sam"):
        run.train_step(5, spoilt)
    saved = torch.load(tmp_path / "nonfinite.pt")
    assert saved["label"].tolist() == [batch["label"][1]] and saved["rows"].tolist() == [0]
    assert not saved["clean"].isfinite().all() and torch.equal(saved["degraded"], batch["degraded"][1:2])
    run.net.outro.weight.register_hook(lambda gradient: gradient * math.inf)
    with pytest.raises(FloatingPointError, match=r"The gradient stopped .* \(norm = (nan|inf)\)"):
        run.train_step(5, batch)
    assert all(torch.equal(before[k], v) for k, v in run.net.state_dict().items())


def test_warm_up_never_starts_at_zero_and_ends_at_the_floor():
    rates = [stages.schedule(step, 100, 600, 1e-3, 1e-5, 50) for step in range(100, 600)]
    assert rates[0] == pytest.approx(2e-5) and max(rates) == pytest.approx(1e-3)
    assert rates[-1] == pytest.approx(1e-5, rel=0.1)
    assert stages.schedule(0, 0, 3, 1e-3, 1e-5, 100) == 1e-3  # a short run does not warm up for ever


def test_a_run_is_not_overwritten_and_not_resumed_with_another_configuration(photographs, finished, tmp_path):
    with pytest.raises(UserError, match="state.pt.*--resume.*--overwrite"):
        loop.train(make(), photographs, finished)
    with pytest.raises(UserError, match="train.lr: 0.002 != 0.003"):
        loop.train(make("train.lr=0.003"), photographs, finished, resume=True)
    with pytest.raises(UserError, match="has no state.pt"):
        loop.train(make(), photographs, tmp_path, resume=True)
    broken = tmp_path / "broken"
    shutil.copytree(finished, broken)
    for content in ((broken / "state.pt").read_bytes()[:1000], b"", b"hello", b"0", b"h\x05."):
        (broken / "state.pt").write_bytes(content)
        with pytest.raises(UserError, match="cannot be read"):
            loop.train(make(), photographs, broken, resume=True)


def test_warm_start_from_weights(photographs, finished, tmp_path):
    run = loop.train(
        make("train.steps=4", "train.stage_a=0", "train.stage_c=0", "train.lr=1e-12"),  # upcycling is due at step 2
        photographs,
        tmp_path / "run",
        init=finished,
        progress=False,
    )
    before = weights(finished)
    for key, value in weights(run).items():
        if not key.startswith("router."):
            torch.testing.assert_close(value, before[key], rtol=1e-4, atol=1e-5)
    assert checkpoint.read_card(run)["config"]["train"]["upcycle"] == 0
    untrained = make("train.steps=4", "train.stage_a=1", "train.stage_c=0")
    first = loop.train(untrained, photographs, tmp_path / "stage_a", progress=False)
    go_on = make("train.steps=2", "train.stage_a=0", "train.stage_c=0")
    then = loop.train(go_on, photographs, tmp_path / "then", init=first, progress=False)
    assert checkpoint.read_card(then)["config"]["train"]["upcycle"] == 0.4  # its experts are as they were born
    with pytest.raises(UserError, match=r"these differ \(weights != asked\): model.experts: 3 != 2. Use"):
        loop.train(make("model.experts=2"), photographs, tmp_path / "other", init=finished)
    assert not (tmp_path / "other").exists()


def test_a_warm_start_with_stage_a_begins_a_linear_gate_anew(photographs, tmp_path):
    """Pins and bias were learned for another sphere than the one that stage A leaves."""
    run = run_module.Run(make("model.router=linear"), photographs, tmp_path, torch.device("cpu"))
    with torch.no_grad():
        run.net.router.pin_bias.add_(1.0)
        run.ema.load_state_dict(run.net.state_dict())
    transitions.finish_stage_a(run)
    assert run.net.router.placed() and not run.net.router.pin_bias.any() and not run.ema.router.pin_bias.any()


@pytest.mark.parametrize("learns", [["model.router=linear"], ["model.sude=anchored", "train.learn_pins=true"]])
def test_a_warm_start_without_stage_a_keeps_learned_pins(photographs, tmp_path, learns):
    first = loop.train(make(*learns, "train.lr=0.05"), photographs, tmp_path / "first", progress=False)
    still = ["train.steps=2", "train.stage_a=0", "train.stage_c=0", "train.lr=1e-12", "train.save_every=1"]
    run_until(photographs, tmp_path / "then", 1, make(*learns, *still), init=first)
    then = loop.train(
        make(*learns, *still, "train.upcycle=0"), photographs, tmp_path / "then", resume=True, progress=False
    )
    for key in weights(first).keys() & {"router.pins", "router.pin_bias"}:
        torch.testing.assert_close(weights(then)[key], weights(first)[key], rtol=0, atol=1e-5)
        assert weights(first)[key].any()
    placed = checkpoint.load_net(first)[0].router
    assert not placed.placed()
    placed.place_pins()
    assert placed.placed() and not torch.allclose(placed.pins, weights(first)["router.pins"], atol=1e-4)


def test_only_upcycling_that_the_weights_forbid_is_printed(photographs, finished, tmp_path, capsys):
    stage_a = make("train.steps=4", "train.stage_a=1", "train.stage_c=0")
    born = loop.train(stage_a, photographs, tmp_path / "born", progress=False)
    short = ["train.steps=1", "train.stage_a=0", "train.stage_c=0"]
    for init, asked, expected in ((born, ["train.upcycle=0"], False), (finished, [], True)):
        capsys.readouterr()
        loop.train(make(*short, *asked), photographs, tmp_path / str(expected), init=init, progress=False)
        assert ("are trained" in capsys.readouterr().err) == expected


def test_a_warm_start_after_a_stage_a_alone_keeps_the_experts(photographs, finished, tmp_path):
    """Trained experts, then an encoder adapted by a stage A alone, then a training: upcycling would undo the first."""
    adapted = make("train.steps=4", "train.stage_a=1", "train.stage_c=0")
    second = loop.train(adapted, photographs, tmp_path / "second", init=finished, progress=False)
    third = make("train.steps=2", "train.stage_a=0", "train.stage_c=0", "train.save_every=2")
    third = loop.train(third, photographs, tmp_path / "third", init=second, progress=False)
    assert checkpoint.read_card(third)["config"]["train"]["upcycle"] == 0


def test_a_warm_start_with_other_heads_is_refused(finished):
    """Weights of the same shapes, but cut into other heads they are another function."""
    net = SLERIR(dataclasses.replace(checkpoint.load_net(finished)[0].cfg, encoder_heads=2))
    with pytest.raises(UserError, match="model.encoder_heads: 3 != 2"):
        checkpoint.warm_start(net, finished)


def test_weights_of_half_size_keep_the_router_in_float32(untrained, tmp_path):
    net, card = checkpoint.load_net(untrained)
    checkpoint.save_weights(tmp_path, net, card, half=True)
    loaded = weights(tmp_path)
    for key, value in net.state_dict().items():
        assert torch.equal(loaded[key], value if key.startswith("router.") else value.half().float()), key


def test_a_deeper_network_begins_as_good_as_the_shallower_one(finished, tmp_path):
    shallow, _ = checkpoint.load_net(finished)
    blocks = tuple(count + extra for count, extra in zip(shallow.cfg.stages, (1, 0, 0, 2, 0, 0, 0, 1), strict=True))
    deep = SLERIR(dataclasses.replace(shallow.cfg, stages=blocks)).eval()
    checkpoint.warm_start(deep, finished)
    x = torch.rand(2, 3, 32, 40, generator=torch.Generator().manual_seed(0))
    y, trace = deep(x, return_trace=True)
    assert torch.equal(y, shallow(x))
    y.sum().backward()
    expert = deep.stages[3].experts[trace.path[0, 3]]
    assert expert[-1].beta.grad.abs().max() > 0  # the added blocks learn
    card = checkpoint.read_card(finished)
    card["config"]["model"] = config.to_dict(deep.cfg)
    checkpoint.save_weights(tmp_path, deep, card)
    with pytest.raises(UserError, match="fewer NAF blocks.* model.stages"):
        checkpoint.warm_start(shallow, tmp_path)
    restormer = SLERIR(dataclasses.replace(shallow.cfg, stages=blocks, block="restormer"))
    with pytest.raises(UserError, match="model.block: naf != restormer"):
        checkpoint.warm_start(restormer, finished)


def test_an_encoder_with_more_blocks_and_convolutions_begins_as_the_old_one(finished, tmp_path):
    old, card = checkpoint.load_net(finished)
    more = {"encoder_blocks": old.cfg.encoder_blocks + 2, "encoder_kernel": 5, "stem_blocks": 2}
    new = SLERIR(dataclasses.replace(old.cfg, **more)).eval()
    checkpoint.warm_start(new, finished)
    side = old.cfg.context + 24  # two windows a side
    x = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    before, after = old.encode(x), new.encode(x)
    for field in ("embedding", "guide", "local", "gate"):
        assert torch.equal(getattr(before, field), getattr(after, field)), field
    after.local[:, 0, 2, 2].sum().backward()
    for block in new.encoder.blocks:
        assert block.near.weight.grad.abs().max() > 0
    assert new.encoder.blocks[-1].project.weight.grad.abs().max() > 0
    assert all(block.narrow.weight.grad.abs().max() > 0 for level in new.encoder.fine for block in level)
    card["config"]["model"] = config.to_dict(new.cfg)
    checkpoint.save_weights(tmp_path, new, card)
    with pytest.raises(UserError, match="fewer NAF blocks, stem blocks or encoder blocks.* model.encoder_blocks"):
        checkpoint.warm_start(old, tmp_path)
    other_kernel = SLERIR(dataclasses.replace(new.cfg, encoder_kernel=3))
    with pytest.raises(UserError, match="model.encoder_kernel: 5 != 3"):
        checkpoint.warm_start(other_kernel, tmp_path)


def test_the_same_weights_have_the_same_hash(untrained, tmp_path):
    net, card = checkpoint.load_net(untrained)
    for _ in range(8):
        saved = checkpoint.save_weights(tmp_path, net, card)
        assert checkpoint.read_card(saved)["weights_sha256"] == card["weights_sha256"]


def test_validation_looks_at_the_one_expert_that_trains(photographs, tmp_path):
    run = run_module.Run(make("train.upcycle=0.5"), photographs, tmp_path, torch.device("cpu"))
    a = run.cfg.train.stage_steps()[0]

    def changes_with_the_others(step: int) -> bool:
        before = held_out.validate(run.cfg, run.held_out, run.ema, step, run.device)
        for stage in run.ema.stages:
            for expert in stage.experts[1:]:
                for parameter in expert.parameters():
                    parameter.add_(0.5)
        return held_out.validate(run.cfg, run.held_out, run.ema, step, run.device) != before

    with torch.no_grad():
        assert not changes_with_the_others(a + 1)
        assert changes_with_the_others(a + stages.upcycle_steps(run.cfg))


def test_averaged_pins_stay_on_the_sphere(photographs, tmp_path):
    run = run_module.Run(make("train.learn_pins=true", "train.lr=0.5"), photographs, tmp_path, torch.device("cpu"))
    run.averaged = 50  # a long memory: the mean of many different directions
    start = run.ema.router.pins.clone()
    for step, batch in zip(range(9, 12), run.loader(9, 0), strict=False):
        run.train_step(step, batch)
    pins = run.ema.router.pins
    assert not torch.equal(pins, start)
    torch.testing.assert_close(pins.norm(dim=-1), torch.ones(pins.shape[:-1]), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "value", ["train.upcycle=2", "train.exploration=-0.1", "train.ema=1.5", "train.clip=0", "train.tau=0"]
)
def test_values_without_sense_are_refused(value):
    with pytest.raises(UserError, match=value.split("=")[0]):
        make(value)


def test_damaged_and_foreign_checkpoints_are_refused(finished, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(finished, copy)
    content = bytearray((copy / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (copy / "model.safetensors").write_bytes(content)
    with pytest.raises(UserError, match="sha256"):
        checkpoint.load_net(copy)
    card = json.loads((finished / "card.json").read_text())
    card["config"]["model"]["width"] = 16
    shutil.copy(finished / "model.safetensors", copy)
    (copy / "card.json").write_text(json.dumps(card))
    card["config"]["model"]["width"] = 4  # a network with more numbers than the file holds is refused before it is made
    (tmp_path / "narrow").mkdir()
    shutil.copy(finished / "model.safetensors", tmp_path / "narrow")
    (tmp_path / "narrow" / "card.json").write_text(json.dumps(card))
    with pytest.raises(UserError, match="has shape .* expected"):
        checkpoint.load_net(tmp_path / "narrow")
    with pytest.raises(UserError, match=r"holds [\d,]+ numbers, and the network of its card.json has at least"):
        checkpoint.load_net(copy)
    for text in ("[]", '{"steps_done": 3}', '{"config": "tiny"}', '{"config": {}}'):
        (copy / "card.json").write_text(text)
        with pytest.raises(UserError, match="card.json"):
            checkpoint.load_net(copy)
    (copy / "card.json").write_text("{")
    with pytest.raises(UserError, match="not valid JSON"):
        checkpoint.load_net(copy)
    (copy / "card.json").unlink()
    with pytest.raises(UserError, match="card.json cannot be read.*No such file"):
        checkpoint.load_net(copy)
    with pytest.raises(UserError, match="got 'nowhere'"):
        checkpoint.load_net("nowhere")


def _without(state, key):
    return {name: value for name, value in state.items() if name != key}


def _newer(state):
    return {**state, "config": state["config"].replace('"seed"', '"novel": 1, "seed"')}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: [1], "lacks everything. Delete it"),
        (lambda state: _without(state, "config"), "lacks config. Delete it"),
        (lambda state: _without(state, "averaged"), "lacks averaged. Delete it"),
        (_newer, "state.pt holds a configuration .* key train.novel; .* newer version"),
        (lambda state: {**state, "net": _without(state["net"], "intro.weight")}, "does not fit .*intro.weight"),
        (lambda state: {**state, "optimiser": {"state": {}, "param_groups": []}}, "does not fit .*parameter groups"),
        (lambda state: {**state, "rng": state["rng"].float()}, "does not fit .*ByteTensor"),
    ],
)
def test_a_state_of_odd_content_is_refused(photographs, finished, tmp_path, change, message):
    shutil.copytree(finished, tmp_path / "odd")
    state = torch.load(finished / "state.pt", weights_only=True)
    torch.save(change(state), tmp_path / "odd" / "state.pt")
    with pytest.raises(UserError, match=message):
        loop.train(make(), photographs, tmp_path / "odd", resume=True, progress=False)


def test_a_card_that_this_version_does_not_know_is_refused(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "copy")
    card = tmp_path / "copy" / "card.json"
    for old, new, what in (('"seed"', '"novel": 1, "seed"', "key train.novel"), ('"sphere"', '"cone"', "got 'cone'")):
        card.write_text((finished / "card.json").read_text().replace(old, new))
        with pytest.raises(UserError, match=f"card.json holds a configuration .*{what}.* newer version"):
            checkpoint.load_net(tmp_path / "copy")
    card.write_bytes(b"\xff\xfe{}")
    with pytest.raises(UserError, match=r"not text \(UTF-8\)"):
        checkpoint.load_net(tmp_path / "copy")


def test_a_full_disk_leaves_the_old_files_and_no_halves(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "full")
    before = {path.name: path.read_bytes() for path in (tmp_path / "full").iterdir()}
    net, card = checkpoint.load_net(finished)

    resource = pytest.importorskip("resource", reason="POSIX limits of file size")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))  # the system itself stops the writing
    try:
        with pytest.raises(OSError, match="File too large"):  # torch.save into the file would hide it
            checkpoint.save_state(tmp_path / "full" / "state.pt", {"step": torch.ones(10_000)})
        with pytest.raises(OSError):
            checkpoint.save_weights(tmp_path / "full", net, card)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {path.name: path.read_bytes() for path in (tmp_path / "full").iterdir()} == before


LIMIT = """
import resource
from slerlib import checkpoint

save, count = checkpoint.save_state, 0

def limited(path, state):
    global count
    count += 1
    if count == 2:  # the disk is full at the second save
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
    save(path, state)

checkpoint.save_state = limited
"""


def test_a_training_on_a_full_disk_says_so_and_goes_on_later(finished, tmp_path):
    """It ends with 1 and the next step; the state of step 4 is whole, and the end has the same bits as ever."""
    pytest.importorskip("resource", reason="POSIX limits of file size")
    data, out = write_photographs(tmp_path / "data"), tmp_path / "full"
    process = start(data, out, code=LIMIT)
    printed = process.communicate(timeout=300)[0].strip().splitlines()[-1]
    assert process.returncode == 1 and "Traceback" not in printed
    assert all(fact in printed for fact in (str(out), "File too large", "step 4 is whole", "--resume")), printed
    assert torch.load(out / "state.pt", weights_only=True)["step"] == 4
    assert not list(out.glob(".*.part"))
    loop.train(make(), data, out, resume=True, progress=False)
    whole = loop.train(make(), data, tmp_path / "whole", progress=False)
    first, second = weights(whole), weights(out)
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert [r["step"] for r in records(out) if "loss" in r] == list(range(12))


def test_a_folder_that_cannot_be_made_is_named(photographs, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="file is a file"):
        loop.train(make(), photographs, tmp_path / "file")
    with pytest.raises(UserError, match="file/run .*cannot be written.*Not a directory"):
        loop.train(make(), photographs, tmp_path / "file" / "run")
    assert (tmp_path / "file").read_text() == "mine"


def test_what_another_training_left_is_not_replaced(photographs, finished, tmp_path):
    """A checkpoint without state, or another log; --overwrite begins anew, a failed start loses nothing."""
    out = tmp_path / "run"
    for names, fact in (
        (["model.safetensors", "card.json"], "model.safetensors, card.json"),
        (["log.jsonl"], "log.jsonl"),
    ):
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        for name in names:
            shutil.copy(finished / name, out)
        with pytest.raises(UserError, match=fact):
            loop.train(make("train.steps=2"), photographs, out)
    shutil.rmtree(out)
    shutil.copytree(finished, out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(UserError, match="train.batch"):
        loop.train(make("train.batch=1", "train.accumulate=2"), photographs, out, overwrite=True)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    with pytest.raises(UserError, match="--resume.*--overwrite"):
        loop.train(make(), photographs, out, resume=True, overwrite=True)
    loop.train(make("train.steps=2"), photographs, out, overwrite=True, progress=False)
    assert checkpoint.read_card(out)["steps_done"] == 2 and len([r for r in records(out) if "loss" in r]) == 2


def test_two_trainings_in_one_folder(photographs, tmp_path):
    """The second is refused at once; the first ends as if alone."""
    data, out = write_photographs(tmp_path / "data"), tmp_path / "run"
    slow = "import time; from slerlib.train.run import Run; step = Run.train_step\n"
    slow += "Run.train_step = lambda *args: (time.sleep(1), step(*args))[1]"  # it must outlast the three refusals
    first = start(data, out, code=slow)
    while not (out / "running.pid").exists():
        assert first.poll() is None, first.communicate()
        time.sleep(0.02)
    for options in ({}, {"resume": True}, {"overwrite": True}):
        with pytest.raises(UserError, match="another process works in"):
            loop.train(make(), photographs, out, **options)
    printed = first.communicate(timeout=300)[0]
    assert first.returncode == 0, printed
    assert [r["step"] for r in records(out) if "loss" in r] == list(range(12))
    assert torch.load(out / "state.pt", weights_only=True)["step"] == 12


@pytest.mark.parametrize("name", ["router.anchors", "router.pins", "intro.weight"])
def test_weights_that_are_not_finite_are_refused_by_name(untrained, tmp_path, name):
    net, card = checkpoint.load_net(untrained)
    for value in (math.nan, math.inf):
        with torch.no_grad():
            net.state_dict()[name].view(-1)[3] = value
        checkpoint.save_weights(tmp_path, net, card)
        with pytest.raises(UserError, match=f"{name} holds NaN or infinity"):
            checkpoint.load_net(tmp_path)


def test_a_saved_network_is_loaded_again(untrained, tmp_path):
    net = load(untrained, "cpu")
    net.card["scores"] = ["of other weights"]
    with torch.no_grad():
        net.outro.weight.add_(0.01)
    for number, module in enumerate((net, torch.nn.DataParallel(net), torch.optim.swa_utils.AveragedModel(net))):
        again = load(save(module, tmp_path / str(number)), "cpu")
        assert all(
            torch.equal(*values) for values in zip(net.state_dict().values(), again.state_dict().values(), strict=True)
        )
        assert again.card["config"] == net.card["config"] and "scores" not in again.card
    plain = SLERIR(make().model)  # no card, a context view smaller than the usual crop
    assert load(save(plain, tmp_path / "plain"), "cpu").cfg == plain.cfg
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="notes.txt.*overwrite"):
        save(net, tmp_path / "mine")
    with pytest.raises(UserError, match="model.safetensors.*overwrite"):
        save(net, tmp_path / "plain")
    load(save(net, tmp_path / "mine", overwrite=True), "cpu")
    assert (tmp_path / "mine" / "notes.txt").read_text() == "mine"
    with pytest.raises(UserError, match="Linear"):
        save(torch.nn.Linear(1, 1), tmp_path / "other")


@pytest.mark.parametrize("name", ["plain.pt", "plain.pth", "parallel.pth", "compiled.pt", "averaged.pt", "nested.ckpt"])
def test_state_dicts_of_others_come_in(untrained, tmp_path, name):
    net = load(untrained, "cpu")
    own = net.state_dict()
    made = {
        "plain": own,
        "parallel": {f"module.{key}": value for key, value in own.items()},
        "compiled": {f"_orig_mod.{key}": value for key, value in own.items()},
        "averaged": torch.optim.swa_utils.AveragedModel(net).state_dict(),
        "nested": {"epoch": 3, "state_dict": own},
    }
    torch.save(made[name.split(".")[0]], tmp_path / name)
    with pytest.raises(UserError, match="card.json.*recipe.*load_state_dict.*slerlib.save"):
        load(tmp_path / name, "cpu")
    again = load(tmp_path / name, "cpu", recipe="tiny").state_dict()
    assert all(torch.equal(again[key], own[key]) for key in own)
    with pytest.raises(UserError, match="must fit the configuration"):
        load(tmp_path / name, "cpu", recipe="small")
    shutil.copy(untrained / "card.json", tmp_path)
    assert load(tmp_path / name, "cpu").card["name"] == "untrained"


def test_files_that_hold_no_weights_are_refused(tmp_path):
    torch.save({"step": 3}, tmp_path / "other.pt")
    torch.save(torch.nn.Linear(1, 1), tmp_path / "code.pt")  # would run code
    (tmp_path / "text.pth").write_text("hello")
    for name, fact in (("other.pt", "state dict"), ("code.pt", "whole model"), ("text.pth", "cannot be read")):
        with pytest.raises(UserError, match=f"{name}.*{fact}|{fact}.*{name}") as error:
            load(tmp_path / name, "cpu", recipe="tiny")
        assert "\x1b" not in str(error.value), "no colours of torch's own message"


def test_golden_losses(photographs, tmp_path):
    """The first 20 losses of a seeded run, kept in a file: a refactoring must not change the mathematics."""
    out = loop.train(make("train.steps=20", "train.save_every=20"), photographs, tmp_path / "run", progress=False)
    losses = [r["loss"] for r in records(out) if "loss" in r]
    golden = json.loads((checkpoint.Path(__file__).parent / "golden_losses.json").read_text())
    assert losses == pytest.approx(golden, rel=2e-3)


def test_a_training_notes_its_starts_and_its_sphere(photographs, finished, tmp_path):
    """In parts the same pictures of the sphere as in one go: at every step of the short stage A, and at every save."""
    out = tmp_path / "parts"
    for stop in (5, 8):
        run_until(photographs, out, stop)
    loop.train(make(), photographs, out, resume=True, progress=False)
    whole, parts = ([(r["step"], r["sphere"]) for r in records(f) if "sphere" in r] for f in (finished, out))
    assert whole == parts and [step for step, _ in whole] == [0, 1, 2, 3, 4, 8, 12]
    starts = [(r["step"], r["resumed"]) for r in records(out) if "begun" in r]
    assert starts == [(0, False), (4, True), (8, True)]
    assert [r["resumed"] for r in records(finished) if "begun" in r] == [False]

    before, after = whole[3][1], whole[4][1]
    assert before["anchors"] is None and before["classes"] == list(config.CLASSES)
    anchors, means = torch.tensor(after["anchors"]), torch.tensor(after["mean"])
    for vectors in (anchors, means):
        assert (vectors.norm(dim=1) - 1).abs().max() < 1e-3
    nearest, usage = torch.tensor(after["nearest"]), torch.tensor(after["usage"])
    assert nearest.sum(dim=1).tolist() == after["views"] and min(after["views"]) > 0
    assert usage.shape == (8, 8, 3) and (usage.sum(dim=2) == torch.tensor(after["views"])[:, None]).all()
    assert all(0 <= angle <= 180 for angle in after["within"])
    assert all(r["memory_MB"] > 0 for r in records(finished) if "sphere" in r)


def test_looks_change_no_bit(photographs, finished, tmp_path, monkeypatch):
    monkeypatch.setattr(looks, "due", lambda cfg, step: False)
    blind = loop.train(make(), photographs, tmp_path / "blind", progress=False)
    assert not any("sphere" in r for r in records(blind))
    assert all(torch.equal(value, weights(blind)[key]) for key, value in weights(finished).items())
