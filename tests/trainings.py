"""Small trainings for the tests: photographs made up from noise, a network of 8 channels, 12 steps in three stages.

One damage all over the picture and one path for it; test_places.py and test_place_routes.py train with more.
"""

import json
import os
import subprocess
import sys

import torch

from slerlib import config
from slerlib.ablation.variants import DAMAGE, FIRST_ENCODER
from slerlib.data.sources import Sources
from slerlib.images import to_pil

SMALL = [
    *DAMAGE["uniform"],
    *FIRST_ENCODER,
    "model.sude=emergent",
    "model.width=8",
    "model.stages=1,1,1,1,1,1,1,1",
    "model.token_width=24",
    "model.encoder_blocks=1",
    "model.guide_channels=8",
    "model.embedding=16",
    "model.context=32",
    "data.crop=16",
    "train.batch=4",
    "train.grid_scenes=2",
    "train.steps=12",
    "train.stage_a=0.34",
    "train.stage_c=0.25",
    "train.lr=2e-3",
    "train.warmup=2",
    "train.save_every=4",
    "train.upcycle=0.4",
]


def make(*overrides):
    return config.with_overrides(config.recipe("tiny"), [*SMALL, *overrides])


def made_up():
    """8 smooth pictures, uint8 (3, 56, 64)."""
    generator = torch.Generator().manual_seed(0)
    coarse = [torch.rand(1, 3, 7, 8, generator=generator) for _ in range(8)]
    smooth = [torch.nn.functional.interpolate(x, size=(56, 64), mode="bicubic").clamp(0, 1)[0] for x in coarse]
    return Sources.photographs([(x * 255).to(torch.uint8) for x in smooth], list("abcdefgh"), "made up")


def write_photographs(folder):
    """The same as PNG files."""
    folder.mkdir()
    for name, image in zip("abcdefgh", made_up().sets[0].targets, strict=True):
        to_pil(image.float() / 255).save(folder / f"{name}.png")
    return folder


def records(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def start(data, out, *overrides, code="", launcher=(), resume=False, **env):
    """`slerlib train` in a process of its own, with `code` run first; its output is piped."""
    code += "\nimport sys; from slerlib.cli import main; sys.exit(main())"
    script = out.with_suffix(".py")
    script.write_text(code)
    command = [sys.executable, *launcher, str(script), "train", "tiny", "--data", str(data), "--out", str(out), "--set"]
    command += [*SMALL, *overrides, *(["--resume"] if resume else [])]
    env = {**os.environ, "OMP_NUM_THREADS": "1", **env}
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
