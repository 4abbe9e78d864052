"""Checkpoints: weights as safetensors beside a human-readable card, and the resumable state of a run.

    folder/model.safetensors   weights (EMA); the metadata holds the configuration of the model
    folder/card.json           configuration, data, steps, machine, scores, sha256 of the weights
    folder/state.pt            everything needed to resume; loads with weights_only=True
    folder/log.jsonl           one line per step, and what was found between steps

Every file is written under a temporary name and renamed: a kill leaves the old file or the new one, never half of one.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import torch

from . import config
from .errors import UserError
from .files import PACKAGE, renamed_together, write_atomic
from .model.network import SLERIR

WEIGHTS, CARD, STATE, LOG = "model.safetensors", "card.json", "state.pt", "log.jsonl"
STATE_KEYS = ("config", "step", "anchored", "seconds", "averaged", "net", "ema", "optimiser", "rng")


def search_path() -> list[Path]:
    """Where a checkpoint name is looked up: $SLERLIB_CHECKPOINTS, the clone's data/checkpoints, the package's own."""
    own = [Path(os.environ["SLERLIB_CHECKPOINTS"])] if os.environ.get("SLERLIB_CHECKPOINTS") else []
    return [*own, PACKAGE.parent / "data" / "checkpoints", PACKAGE / "_checkpoints"]


def find(name_or_path: str | Path) -> Path:
    """Folder of a checkpoint given by name or path. Raises UserError that lists what there is."""
    path = Path(name_or_path)
    if (path / WEIGHTS).is_file():
        return path
    if path.name == WEIGHTS and path.is_file():
        return path.parent
    for folder in search_path():
        if str(name_or_path) == path.name and (folder / path.name / WEIGHTS).is_file():
            return folder / path.name
    known = sorted({p.parent.name for folder in search_path() if folder.is_dir() for p in folder.glob(f"*/{WEIGHTS}")})
    raise UserError(
        f"A checkpoint is a shipped name ({', '.join(known) or 'none found'}) or a folder with {WEIGHTS} and {CARD}; "
        f"got {str(name_or_path)!r}. Searched: {', '.join(map(str, search_path()))}."
    )


def save_weights(folder: str | Path, net: SLERIR, card: dict, half: bool = False) -> Path:
    """Write weights and card. `card` holds at least `config`; the sha256 of the weights is filled in here.

    half: parameters as float16, half the size; those of the router (anchors, pins: unit vectors) stay float32. Loading
    makes all float32 again.
    """
    from safetensors.torch import save

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {key: value.detach().cpu().contiguous() for key, value in net.state_dict().items()}
    if half:
        tensors |= {n: tensors[n].half() for n, _ in net.named_parameters() if not n.startswith("router.")}
    model = json.dumps(config.to_dict(net.cfg), sort_keys=True)
    # one key alone: safetensors writes several in a random order, and the same weights would have several hashes
    content = save(tensors, metadata={"slerlib.model": model})
    card = {**card, "weights_sha256": hashlib.sha256(content).hexdigest()}
    text = (json.dumps(card, indent=2) + "\n").encode()
    with renamed_together(folder / WEIGHTS, folder / CARD) as (weights, written):
        weights.write_bytes(content)
        written.write_bytes(text)
    return folder


def weights_file(checkpoint: str | os.PathLike) -> Path:
    """The weights that a checkpoint's name or path means. Raises UserError when there are none."""
    return find(checkpoint).resolve() / WEIGHTS


def read_card(folder: Path) -> dict:
    try:
        card = json.loads((folder / CARD).read_text())
    except FileNotFoundError:
        raise UserError(
            f"A checkpoint needs its {CARD} beside the weights; {folder} has none. Copy the whole folder."
        ) from None
    except json.JSONDecodeError as error:
        raise UserError(
            f"{folder / CARD} is not valid JSON (line {error.lineno}: {error.msg}). Copy the checkpoint again."
        ) from None
    except UnicodeDecodeError:
        raise UserError(f"A card is text; {folder / CARD} is not (UTF-8). Copy the checkpoint again.") from None
    config_ = card.get("config") if isinstance(card, dict) else None
    if not isinstance(config_, dict) or "name" not in config_:
        raise UserError(
            f"A card is a JSON object with the `config` of the training; {folder / CARD} has none. "
            "Copy the checkpoint again."
        )
    return card


def load_net(name_or_path: str | Path, device: torch.device | str = "cpu") -> tuple[SLERIR, dict]:
    """(network in eval mode, card). Raises UserError when a file is missing, damaged, changed or does not fit."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    folder = find(name_or_path)
    card = read_card(folder)
    content = (folder / WEIGHTS).read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if digest != card.get("weights_sha256"):
        raise UserError(
            f"The weights must have the sha256 that their card states; {folder / WEIGHTS} has {digest[:12]}..., "
            f"the card says {str(card.get('weights_sha256'))[:12]}... The file was changed or damaged: "
            "copy the checkpoint again."
        )
    cfg = _known(lambda: config.from_dict(config.RunConfig, card["config"]), folder / CARD)
    net = SLERIR(cfg.model)
    try:
        tensors = load(content)
    except SafetensorError as error:
        raise UserError(
            f"{folder / WEIGHTS} is not a readable safetensors file ({error}). Copy the checkpoint again."
        ) from None
    load_tensors(net, tensors, str(folder))
    return net.to(device).eval(), card


def _known(read: Callable[[], config.RunConfig], where: Path) -> config.RunConfig:
    """The configuration that `read` returns; a UserError names the file that this version does not understand."""
    try:
        return read()
    except UserError as error:
        raise UserError(
            f"{where} holds a configuration that this version of slerlib does not know: {error} "
            "A newer version may have written it: use that one, or copy the file again."
        ) from None


def load_tensors(net: SLERIR, tensors: dict[str, torch.Tensor], where: str) -> None:
    """Copy weights into a network of the same configuration; otherwise UserError with the first differing names."""
    own = net.state_dict()
    wrong = [f"{key} is missing" for key in own if key not in tensors]
    wrong += [f"{key} is not part of this network" for key in tensors if key not in own]
    wrong += [
        f"{key} has shape {tuple(tensors[key].shape)}, expected {tuple(own[key].shape)}"
        for key in own
        if key in tensors and tensors[key].shape != own[key].shape
    ]
    if wrong:
        raise UserError(
            f"Weights must fit the configuration; in {where}, {len(wrong)} tensors do not: {'; '.join(wrong[:3])}. "
            f"Was {CARD} edited? Copy the checkpoint again."
        )
    net.load_state_dict(tensors)


def warm_start(net: SLERIR, name_or_path: str | Path) -> bool:
    """Start `net` from the weights of a checkpoint, whose stages may have fewer blocks if they are NAF blocks; returns
    whether its pins were learned.

    The others keep their own start, which is the identity: a deeper network begins exactly as good as the shallower one
    [ours; as Net2DeeperNet, Chen et al. 2016]. Raises UserError when shapes differ in anything else, or the heads of
    the encoder do, which shapes do not show.
    """
    theirs, _ = load_net(name_or_path)
    own = net.state_dict() if net.cfg.block == theirs.cfg.block == "naf" else {}
    added = {key: value for key, value in own.items() if _is_added(key, theirs.cfg.stages)}
    start, shapes = {**added, **theirs.state_dict()}, net.state_dict()
    if (
        start.keys() != shapes.keys()
        or any(start[key].shape != shapes[key].shape for key in start)
        or theirs.cfg.encoder_heads != net.cfg.encoder_heads
    ):
        have, asked = config.to_dict(theirs.cfg), config.to_dict(net.cfg)
        different = [f"model.{key}: {have[key]} != {asked[key]}" for key in have if have[key] != asked[key]]
        raise UserError(
            "A network starts from weights of its own shape, or from those with fewer NAF blocks in its stages; "
            f"in {name_or_path} these differ (weights != asked): {'; '.join(different)}. "
            "Use the recipe and the --set model.KEY=VALUE that the weights were trained with, or leave --init out."
        )
    net.load_state_dict(start)
    return not theirs.router.placed()


def _is_added(key: str, blocks: tuple[int, ...]) -> bool:
    """Whether `stages.STAGE.experts.EXPERT.BLOCK...` names a block beyond those of that stage."""
    part, *numbers = key.split(".")
    return part == "stages" and int(numbers[3]) >= blocks[int(numbers[0])]


def save_state(path: Path, state: dict) -> None:
    """Write the resumable state. Raises OSError or RuntimeError where the disk cannot take it."""
    write_atomic(path, lambda file: torch.save(state, file))


def load_state(path: Path, cfg: config.RunConfig) -> dict:
    """State of a run. Refused with the differing keys when it was made by another configuration."""
    if not path.is_file():
        raise UserError(
            f"--resume continues the run in {path.parent}, which has no {STATE}. Leave --resume out to start anew."
        )
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, ValueError, LookupError, pickle.UnpicklingError) as error:
        raise UserError(
            f"{path} cannot be read ({type(error).__name__}: {(str(error) or 'no message').splitlines()[0]}). "
            f"Delete it and start anew, or warm-start with --init {path.parent}."
        ) from None
    missing = [key for key in STATE_KEYS if key not in state] if isinstance(state, dict) else ["everything"]
    if missing:
        raise UserError(
            f"The state of a training holds {', '.join(STATE_KEYS)}; {path} lacks {', '.join(missing)}. "
            f"Delete it and start anew, or warm-start with --init {path.parent}."
        )
    different = config.differences(_known(lambda: config.from_json(state["config"]), path), cfg)
    if different:
        raise UserError(
            f"A run resumes with the configuration it began with; in {path.parent} these differ (saved != asked): "
            f"{'; '.join(different)}. Give the recipe, --set and --init of the first time again; to change them, "
            f"use another --out with --init {path.parent}."
        )
    return state
