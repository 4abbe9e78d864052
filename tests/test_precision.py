"""Number formats: the choice and its reason, a step in each, overflow, and what compiling falls back to."""

import functools
import math

import pytest
import torch
from trainings import made_up, make, records

from slerlib.model.encoder import TokenEncoder
from slerlib.train import loop, objectives, precision, run, stages


@pytest.fixture(scope="module")
def photographs():
    return made_up()


@pytest.fixture(scope="module")
def float32(photographs, tmp_path_factory):
    return losses(loop.train(make(), photographs, tmp_path_factory.mktemp("float32") / "run", progress=False))


def losses(folder):
    return [r["loss"] for r in records(folder) if "loss" in r]


@pytest.mark.parametrize(
    ("bf16", "dtype", "reason"),
    [
        (True, torch.bfloat16, "bf16: CUDA SM 9.0 supports it"),
        (False, torch.float16, "fp16 with a scaled loss: CUDA SM 9.0 has no bf16"),
    ],
)
def test_the_format_comes_with_its_reason(monkeypatch, bf16, dtype, reason):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: (9, 0))
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: bf16 or including_emulation)
    assert precision.choose_precision("auto", torch.device("cuda")) == (dtype, reason)
    assert precision.choose_precision("auto", torch.device("cpu"))[0] == torch.float32
    assert precision.choose_precision("bf16", torch.device("cpu")) == (torch.bfloat16, "bf16: as asked")


@pytest.mark.parametrize("asked", ["bf16", "fp16"])
def test_half_precision_trains_close_to_float32(photographs, float32, tmp_path, asked):
    """All three stages; weights and moments stay float32, and so does what decides the route."""
    out = loop.train(make(f"train.precision={asked}"), photographs, tmp_path / "run", progress=False)
    half = losses(out)
    assert half == pytest.approx(float32, rel=0.05) and half != float32
    state = torch.load(out / "state.pt", weights_only=True)
    moments = [m for s in state["optimiser"]["state"].values() for m in s.values()]
    assert {t.dtype for t in (*state["net"].values(), *moments)} == {torch.float32}
    assert (state["scaler"]["scale"] == 65536) if asked == "fp16" else not state["scaler"]
    one = run.Run(make(f"train.precision={asked}"), photographs, tmp_path, torch.device("cpu"))
    with one.precision.autocast():
        _, trace = objectives.restoration_terms(one.net, one.cfg, next(iter(one.loader(6, 0))), 6, stages.Draws())
    assert trace.similarity.dtype == trace.embedding.dtype == torch.float32


@pytest.mark.parametrize(
    "overrides",
    [
        "model.sude=linear model.router=linear",
        "model.sude=ce model.router=sphere_stage",
        "model.sude=anchored model.router=dense",
        "model.block=restormer train.counterfactual=1 train.learn_pins=true",
    ],
)
def test_every_variant_takes_bf16(photographs, tmp_path, overrides):
    one = run.Run(make("train.precision=bf16", *overrides.split()), photographs, tmp_path, torch.device("cpu"))
    for step in (0, 6, 11):
        assert math.isfinite(one.train_step(step, next(iter(one.loader(step, 0))))["loss"])


def test_an_fp16_overflow_skips_the_step_and_halves_the_scale(photographs, tmp_path):
    one = run.Run(make("train.precision=fp16"), photographs, tmp_path, torch.device("cpu"))
    batch = next(iter(one.loader(6, 0)))
    one.precision.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**60)
    before = {k: v.clone() for k, v in one.net.named_parameters()}
    assert not math.isfinite(one.train_step(6, batch)["grad_norm"])
    assert all(torch.equal(before[k], v) for k, v in one.net.named_parameters())
    assert one.precision.scaler.get_scale() == 2.0**59
    one.precision.scaler = torch.amp.GradScaler("cpu", init_scale=precision.SMALLEST_SCALE)
    batch["clean"] *= 1e38  # a finite loss, but its gradients overflow whatever the scale
    one.net.outro.weight.data *= 1e38
    with pytest.raises(FloatingPointError, match="stopped being finite at step 7 of stage B"):
        one.train_step(7, batch)


def test_a_compiler_that_is_missing_leaves_everything_as_it_was(photographs, tmp_path, monkeypatch):
    def broken(*args, **kwargs):
        raise RuntimeError("no C++ compiler\nat all")

    monkeypatch.setattr(torch, "compile", broken)
    asked = run.Run(make("train.compile=true"), photographs, tmp_path, torch.device("cpu"))
    assert asked.compiled == "not compiled: torch.compile failed with RuntimeError: no C++ compiler"
    plain = run.Run(make(), photographs, tmp_path, torch.device("cpu"))
    batch = next(iter(plain.loader(6, 0)))
    assert asked.train_step(6, batch)["loss"] == plain.train_step(6, batch)["loss"]


def test_a_compiler_that_stumbles_over_the_encoder_leaves_everything_as_it_was(photographs, tmp_path, monkeypatch):
    """The experts compile; the encoder only fails when it runs, as compilers do."""

    def choosy(method, **kwargs):
        def forward(x):
            if isinstance(method.__self__, TokenEncoder):
                raise RuntimeError("no such kernel")
            return method(x)

        return forward

    monkeypatch.setattr(torch, "compile", choosy)
    one = run.Run(make("train.compile=true"), photographs, tmp_path, torch.device("cpu"))
    assert one.compiled == "not compiled: torch.compile failed with RuntimeError: no such kernel"
    assert not any("forward" in vars(module) for module in one.net.modules())


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # torch's tracing looks at it
def test_a_network_may_be_compiled_twice(photographs, tmp_path, monkeypatch):
    """Traced by torch and run as traced: what makes fast code of it has no part in this."""
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    plain, twice = (run.Run(make(), photographs, tmp_path, torch.device("cpu")) for _ in range(2))
    for _ in range(2):
        printed = precision.compile_blocks(twice.net, twice.cfg.data.crop, twice.precision)
        assert printed.startswith("experts and encoder compiled"), printed
    batch = next(iter(plain.loader(6, 0)))
    assert twice.train_step(6, batch)["loss"] == pytest.approx(plain.train_step(6, batch)["loss"], rel=1e-5)
