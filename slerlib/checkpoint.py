"""Checkpoints: weights as safetensors beside a human-readable card, and the resumable state of a run.

    folder/model.safetensors   weights (EMA); the metadata holds the configuration of the model
    folder/card.json           configuration, data, steps, machine, scores, sha256 of the weights
    folder/state.pt            everything needed to resume; loads with weights_only=True
    folder/log.jsonl           one line per step, and notes between steps
    folder/config.json         the configuration of a training

Weights of other programs (a state dict in a .pt, .pth or .safetensors file) come in beside a card, or with a recipe.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from . import config
from .errors import UserError
from .files import PACKAGE, read_json, renamed_together, unwritable, write_atomic
from .model.doubt import limits_of, rule_of
from .model.network import SLERIR, least_parameters
from .model.wrappers import unwrapped

WEIGHTS, CARD, STATE, LOG, CONFIG = "model.safetensors", "card.json", "state.pt", "log.jsonl", "config.json"
STATE_KEYS = ("config", "step", "anchored", "seconds", "averaged", "net", "ema", "optimiser", "rng")
FOREIGN = (".pt", ".pth", ".ckpt", ".bin", ".safetensors")  # suffixes of state dicts
NESTED = ("params_ema", "params", "state_dict", "model")  # keys under which training programs keep theirs
#: Of the very weights that a card came with.
MEASURED = ("scores", "doubt", "unseen", "log_sha256", "anchor_accuracy_after_stage_a")


# --- where checkpoints are


def search_path() -> list[Path]:
    """Where a checkpoint name is looked up: $SLERLIB_CHECKPOINTS, the clone's data/checkpoints, the package's own."""
    own = [Path(os.environ["SLERLIB_CHECKPOINTS"])] if os.environ.get("SLERLIB_CHECKPOINTS") else []
    return [*own, PACKAGE.parent / "data" / "checkpoints", PACKAGE / "_checkpoints"]


def weights_file(name_or_path: str | os.PathLike) -> Path:
    """The weights of a checkpoint: a shipped name, a folder or a file. Raises UserError that lists the names."""
    path = Path(name_or_path)
    if (path / WEIGHTS).is_file():
        return path.resolve() / WEIGHTS
    if path.suffix in FOREIGN and path.is_file():
        return path.resolve()
    for folder in search_path():
        if str(name_or_path) == path.name and (folder / path.name / WEIGHTS).is_file():
            return folder.resolve() / path.name / WEIGHTS
    names = sorted({p.parent.name for folder in search_path() if folder.is_dir() for p in folder.glob(f"*/{WEIGHTS}")})
    raise UserError(
        f"A checkpoint is a shipped name ({', '.join(names) or 'none found'}), a folder with {WEIGHTS} and {CARD}, or "
        f"a state dict ({', '.join(FOREIGN)}); got {str(name_or_path)!r}. "
        f"Searched: {', '.join(map(str, search_path()))}."
    )


def find(name_or_path: str | os.PathLike) -> Path:
    """The folder of a checkpoint."""
    return weights_file(name_or_path).parent


# --- writing


def save(model: nn.Module, folder: str | os.PathLike, overwrite: bool = False) -> Path:
    """Write the weights and the card of a network; `slerlib.load` of the folder gives them back.

    model: an `SLERIR`, also inside DataParallel, torch.compile or AveragedModel. Its card is kept, but for the scores
    it came with, which new weights would not have. overwrite: the folder may hold files; those of the same names are
    replaced. Raises UserError for another kind of module, for a folder that is in use, and for a full disk.
    """
    model = unwrapped(model)
    if not isinstance(model, SLERIR):
        raise UserError(f"slerlib.save takes an SLERIR network; got {type(model).__name__}. Pass the network itself.")
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise UserError(f"slerlib.save writes into a folder; {folder} is a file. Name another one.")
    if not overwrite and folder.is_dir() and (names := sorted(path.name for path in folder.iterdir())):
        raise UserError(
            f"slerlib.save writes into a new or empty folder; {folder} holds {', '.join(names[:5])}. Name another one, "
            "or pass overwrite=True."
        )
    multiple = math.lcm(8, model.cfg.stride)  # of a training crop, which must fit into the context view
    data = {"crop": model.cfg.context // multiple * multiple}
    card = {"name": folder.name, "config": {"name": folder.name, "data": data}}
    card |= {key: value for key, value in getattr(model, "card", {}).items() if key not in MEASURED}
    card["config"] = {**card["config"], "model": config.to_dict(model.cfg)}
    try:
        return save_weights(folder, model, card)
    except OSError as error:
        raise unwritable("slerlib.save writes weights and a card", folder, error) from None


def save_weights(folder: str | Path, net: SLERIR, card: dict, half: bool = False) -> Path:
    """Write weights and card. `card` holds at least `config`; the sha256 of the weights is filled in here.

    half: parameters as float16, half the size; those of the router (anchors, pins: unit vectors) stay float32. Loading
    makes all float32 again. Raises OSError where the disk cannot take them.
    """
    from safetensors.torch import save

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {key: value.detach().cpu().contiguous() for key, value in net.state_dict().items()}
    if half:
        tensors |= {n: tensors[n].half() for n, _ in net.named_parameters() if not n.startswith("router.")}
    model = json.dumps(config.to_dict(net.cfg), sort_keys=True)
    # one key alone: safetensors writes several in a random order, and the same weights would have several hashes
    data = save(tensors, metadata={"slerlib.model": model})
    card = {**card, "weights_sha256": hashlib.sha256(data).hexdigest()}
    with renamed_together(folder / WEIGHTS, folder / CARD) as (weights, text):
        weights.write_bytes(data)
        text.write_bytes((json.dumps(card, indent=2) + "\n").encode())
    return folder


# --- reading


def read_card(folder: Path) -> dict:
    """The card of a checkpoint. Raises UserError for a file that is missing or damaged."""
    repair = f"Copy the whole folder of the checkpoint again: {WEIGHTS} and {CARD} belong together."
    card = read_json(folder / CARD, "A card", ("config",), repair)
    if not isinstance(card["config"], dict) or "name" not in card["config"]:
        raise UserError(f"The `config` of a card is an object with a name; that in {folder / CARD} is not. {repair}")
    return card


def load_net(
    name_or_path: str | os.PathLike, device: torch.device | str = "cpu", recipe: str | config.RunConfig | None = None
) -> tuple[SLERIR, dict]:
    """(network in eval mode, card). Raises UserError when a file is missing, damaged, changed or does not fit.

    recipe: name or configuration of the network, for weights without a card.
    """
    path = weights_file(name_or_path)
    if recipe is not None:
        cfg = config.recipe(recipe) if isinstance(recipe, str) else recipe
        card = {"name": path.stem, "config": config.to_dict(cfg)}
    elif path.name == WEIGHTS or (path.parent / CARD).is_file():
        card = read_card(path.parent)
    else:
        raise UserError(
            f"Weights need the configuration of their network: a {CARD} beside them, or a recipe; {path} has neither. "
            'Name the recipe, slerlib.load(path, recipe="tiny"), or build the network, net.load_state_dict(...) the '
            "weights into it, and slerlib.save(net, folder) them as a checkpoint."
        )
    cfg = _understood(lambda: config.from_dict(config.RunConfig, card["config"]), path.parent / CARD)
    sha256 = None if recipe is not None else str(card.get("weights_sha256"))
    tensors = _state_dict(path, sha256)
    held, least = sum(value.numel() for value in tensors.values()), least_parameters(cfg.model)
    if least > held:  # before a network is built that a wrong card may make as large as it likes
        raise UserError(
            f"Weights must fit the configuration; {path} holds {held:,} numbers, and the network of its {CARD} has at "
            f"least {least:,}. Was {CARD} edited, or is it another recipe? Copy the checkpoint again, or name the "
            "recipe."
        )
    net = SLERIR(cfg.model)
    load_tensors(net, tensors, str(path))
    net.router.limits, net.router.rule = limits_of(card), rule_of(card, net.router.names)
    return net.to(device).eval(), card


def _state_dict(path: Path, sha256: str | None) -> dict[str, Tensor]:
    """The tensors in a file, by the names that they have in the network itself.

    sha256: of a checkpoint's own weights, from its card. Prefixes of DataParallel, torch.compile and AveragedModel go.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    repair = "Copy the file again."
    try:
        if path.suffix == ".safetensors":
            data = path.read_bytes()
            digest = hashlib.sha256(data).hexdigest()
            if path.name == WEIGHTS and sha256 is not None and digest != sha256:
                raise UserError(
                    f"The weights must have the sha256 that their card states; {path} has {digest[:12]}..., the card "
                    f"states {sha256[:12]}... The file was changed or damaged: copy the checkpoint again."
                )
            tensors = load(data)
        else:
            tensors = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, OSError, RuntimeError, EOFError, LookupError, pickle.UnpicklingError) as error:
        if isinstance(error, pickle.UnpicklingError):  # torch's own message is a page with colours
            raise UserError(
                f"A file of weights holds a state dict: names and tensors; {path} holds Python objects, such as a "
                "whole model, or is damaged. Open it where its code is, and save model.state_dict() from there."
            ) from None
        reason = (str(error) or "no message").splitlines()[0]
        raise UserError(f"{path} cannot be read as weights ({type(error).__name__}: {reason}). {repair}") from None
    for key in NESTED:
        if isinstance(tensors, dict) and isinstance(tensors.get(key), dict):
            tensors = tensors[key]
    if not isinstance(tensors, dict) or not all(isinstance(value, Tensor) for value in tensors.values()):
        raise UserError(
            f"A file of weights holds a state dict: names and tensors; {path} holds something else. Save "
            "net.state_dict() alone, or load_state_dict it in Python and slerlib.save the network."
        )
    names = {key: key.replace("_orig_mod.", "").removeprefix("module.") for key in tensors if key != "n_averaged"}
    return {name: tensors[key] for key, name in names.items()}


def _understood(read: Callable[[], config.RunConfig], where: Path) -> config.RunConfig:
    """The configuration that `read` returns; a UserError names the file that this version does not understand."""
    try:
        return read()
    except UserError as error:
        raise UserError(
            f"{where} holds a configuration that this version of slerlib does not know: {error} "
            "A newer version may have written it: use that one, or copy the file again."
        ) from None


def load_tensors(net: SLERIR, tensors: dict[str, Tensor], where: str) -> None:
    """Copy weights into a network of the same configuration.

    Raises UserError with the names of tensors that do not fit, or that hold NaN or infinity: a network with such an
    anchor or pin would send every image along one path.
    """
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
            f"Was {CARD} edited, or is it another recipe? Copy the checkpoint again, or name the recipe."
        )
    if bad := [key for key, value in tensors.items() if not value.isfinite().all()]:
        raise UserError(
            f"Weights must be finite numbers; in {where}, {', '.join(bad[:3])} holds NaN or infinity"
            f"{f', and {len(bad) - 3} tensors more' if len(bad) > 3 else ''}. Take an earlier checkpoint."
        )
    net.load_state_dict(tensors)


def warm_start(net: SLERIR, name_or_path: str | Path) -> bool:
    """Start `net` from the weights of a checkpoint, which may have fewer NAF blocks in its stages, fewer blocks in the
    stem and in the encoder, and no convolutions in the latter; returns whether its pins were learned.

    `net` may have own classes in addition (`config.ModelConfig.own_classes`), which are to be placed afterwards.
    What is new starts as the identity: a deeper network begins exactly as good as the shallower one [ours; as
    Net2DeeperNet, Chen et al. 2016]. Raises UserError when shapes differ in anything else, or the heads of the
    encoder do, which shapes do not show.
    """
    theirs, _ = load_net(name_or_path)
    shapes = net.state_dict()
    start = {**_added(shapes, net.cfg, theirs.cfg), **theirs.state_dict()}
    if joining := net.cfg.own_classes - theirs.cfg.own_classes:
        start = _grown(start, shapes, joining)
    if (
        start.keys() != shapes.keys()
        or any(start[key].shape != shapes[key].shape for key in start)
        or theirs.cfg.encoder_heads != net.cfg.encoder_heads
    ):
        have, asked = config.to_dict(theirs.cfg), config.to_dict(net.cfg)
        different = [f"model.{key}: {have[key]} != {asked[key]}" for key in have if have[key] != asked[key]]
        raise UserError(
            "A network starts from weights of its own shape, or from those with fewer NAF blocks, stem blocks or "
            f"encoder blocks; in {name_or_path} these differ (weights != asked): {'; '.join(different)}. "
            "Use the recipe and the --set model.KEY=VALUE that the weights were trained with, or leave --init out."
        )
    net.load_state_dict(start)
    return not theirs.router.placed()


def _grown(start: dict, shapes: dict, joining: int) -> dict:
    """`start` with room for own classes that join: rows of `shapes` after its anchors and pins, experts and gates."""
    start = {**{key: value for key, value in shapes.items() if key.startswith(("stages.", "own."))}, **start}
    for key, axis in (("router.anchors", 0), ("router.pins", 1)):
        if key in start:
            room = shapes[key].narrow(axis, shapes[key].shape[axis] - joining, joining)
            start[key] = torch.cat([start[key], room], dim=axis)
    return start


def _added(state: dict, cfg: config.ModelConfig, theirs: config.ModelConfig) -> dict:
    """The tensors of `state` that a network of the configuration `theirs` lacks, as the identity."""
    added = {}
    for key, value in state.items():
        match key.split("."):
            case ["stages", stage, _, _, block, *_] if cfg.block == theirs.block == "naf":
                if int(block) >= theirs.stages[int(stage)]:
                    added[key] = value  # its own start is the identity
            case ["encoder", "blocks", block, *rest]:
                if int(block) >= theirs.encoder_blocks:
                    added[key] = torch.zeros_like(value) if rest[:-1] in (["project"], ["feed", "2"]) else value
                elif rest[0] == "near" and not theirs.encoder_kernel:
                    added[key] = value
            case ["encoder", "fine", _, block, *_] if int(block) >= theirs.stem_blocks:
                added[key] = value
    return added


# --- the resumable state


def save_state(path: Path, state: dict) -> None:
    """Write the resumable state. Raises OSError where the disk cannot take it."""
    data = io.BytesIO()
    torch.save(state, data)  # not into the file: there torch hides the reason why the disk refuses
    write_atomic(path, data.getbuffer())


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
    different = config.differences(_understood(lambda: config.from_json(state["config"]), path), cfg)
    if different:
        raise UserError(
            f"A run resumes with the configuration it began with; in {path.parent} these differ (saved != asked): "
            f"{'; '.join(different)}. Give the recipe, --set and --init of the first time again; to change them, "
            f"use another --out with --init {path.parent}."
        )
    return state
