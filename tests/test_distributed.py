"""Several processes are one training: the same numbers, one writer, one cause named when one dies."""

import json
import socket

import pytest
import torch
from trainings import make, records, start, write_photographs

from slerlib import UserError
from slerlib.data.loader import Batches
from slerlib.sharding import place
from slerlib.train import loop, run, stages
from slerlib.train.distributed import Group
from slerlib.train.parts import Part, pieces, together

DIES = """
import os, signal
from slerlib.train import run

original = run.Run.train_step

def train_step(self, step, batch):
    if (step, self.group.rank) == (6, 1) and not int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0)):
        {how}
    return original(self, step, batch)

run.Run.train_step = train_step
"""
# a batch that 2 processes do not share evenly; of stage B (steps 5 to 11) one step alone, the next one exploring
UNEVEN = "train.steps=16 train.batch=5 train.weight_decay=0.1 train.upcycle=0.15 train.exploration=0.9".split()
UNEVEN.append("data.composite_share=0.2")


def numbers(folder):
    """All that is logged of a step, but for its duration."""
    return [plain(r) for r in records(folder) if "loss" in r]


def plain(record):
    return {k: v for k, v in record.items() if k not in ("seconds", "stage")}


def compare(one, other):
    """Weights, up to rounding. The bias of the keys has no gradient but rounding, which Adam scales up."""
    for key, value in one.items():
        if not key.endswith("qkv.bias"):
            torch.testing.assert_close(other[key], value, rtol=2e-3, atol=5e-5)


def test_two_processes_train_as_one_and_torchrun_replaces_the_dead(tmp_path):
    """Process 1 is killed at step 6; both start again from step 4 and end where one process does alone."""
    data = write_photographs(tmp_path / "data")
    alone = loop.train(make(*UNEVEN), data, tmp_path / "alone", progress=False)
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "--max-restarts", "1")
    code = DIES.format(how="os.kill(os.getpid(), signal.SIGKILL)")
    process = start(data, tmp_path / "two", *UNEVEN, code=code, launcher=torchrun)
    printed = process.communicate(timeout=300)[0]
    assert process.returncode == 0 and "exitcode: -9) local_rank: 1" in printed, printed
    assert printed.count("2 processes by gloo on cpu, fp32") == 2 and "going on at step 4" in printed
    one, two = numbers(alone), numbers(tmp_path / "two")
    assert [r["step"] for r in two] == list(range(16))  # one process writes, and nothing twice
    for a, b in zip(one, two, strict=True):
        assert b == pytest.approx(a, rel=1e-4, abs=2e-6)
    # experts that the global batch did not choose have neither decayed nor made a step
    states = [torch.load(folder / "state.pt", weights_only=True) for folder in (alone, tmp_path / "two")]
    moments = [{k: float(v["step"]) for k, v in s["optimiser"]["state"].items()} for s in states]
    assert moments[0] == moments[1] and len(set(moments[0].values())) > 3
    compare(states[0]["net"], states[1]["net"])
    assert json.loads((tmp_path / "two" / "card.json").read_text())["machine"]["processes"] == 2


def test_a_process_that_fails_ends_all_with_its_rank_and_cause(tmp_path):
    """Without torchrun: the environment variables that it would set."""
    data = write_photographs(tmp_path / "data")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    env = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
    code = DIES.format(how='raise RuntimeError("broken on purpose")')
    both = [start(data, tmp_path / "two", code=code, RANK=str(rank), **env) for rank in (0, 1)]
    printed = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [1, 1], printed
    cause = "process 0 of 2 stops because process 1 ended with RuntimeError: broken on purpose"
    assert cause in printed[0] and "--resume" in printed[0] and "broken on purpose" in printed[1]
    state = torch.load(tmp_path / "two" / "state.pt", weights_only=True)
    assert state["step"] == 4


def test_processes_split_every_batch(photographs):
    """Grids with rows of real samples, restoration batches, composites; 3 processes do not divide them evenly."""
    for grid, share in ((0, 0), (2, 0), (0, 0.3), (2, 0.3)):
        cfg = make("train.batch=5", f"data.composite_share={share}")
        whole, *parts = (
            Batches(photographs, cfg.model.classes, cfg.data, 32, 5, 0, grid, 0.5, part=part)
            for part in ((0, 1), (0, 3), (1, 3), (2, 3))
        )
        joined = together([part[7] for part in parts])
        assert all(torch.equal(joined[key], value) for key, value in whole[7].items())
        assert [list(part.own) for part in parts] == [list(Group(r, 3).rows(whole.size)) for r in range(3)]
        cut = pieces(whole[7], Part(0, whole.size, whole.size), 3)
        assert sum(part.share for part, _ in cut) == pytest.approx(1)
        joined = together([piece for _, piece in cut])
        assert all(torch.equal(joined[key], value) for key, value in whole[7].items())


@pytest.fixture(scope="module")
def photographs():
    from trainings import made_up

    return made_up()


def test_more_processes_than_samples_are_refused(photographs, tmp_path):
    for cfg, rule in (
        (make("train.batch=4"), "train.batch = 4 for 17"),
        (make("train.batch=17"), "makes 16 for 17 proc"),
    ):
        with pytest.raises(UserError, match=rule):
            run.Run(cfg, photographs, tmp_path, torch.device("cpu"), Group(0, 17))


def test_pieces_accumulate_to_the_batch(photographs, tmp_path):
    """A batch of 5 in 3 pieces makes the steps of the batch in one, in stages B and C, exploration included."""
    ends = []
    for count in (1, 3):
        one = run.Run(make(*UNEVEN, f"train.accumulate={count}"), photographs, tmp_path, torch.device("cpu"))
        batches = iter(one.loader(6, 0))
        logged = [one.train_step(step, next(batches)) for step in range(6, 16)]
        ends.append((logged, one.net.state_dict()))
    assert stages.draw(one.cfg, 6, 5).explore.any() and logged[-1]["stage"] == "C"
    for a, b in zip(ends[0][0], ends[1][0], strict=True):
        assert plain(b) == pytest.approx(plain(a), rel=1e-4, abs=2e-6)
    compare(ends[0][1], ends[1][1])


@pytest.mark.parametrize("share", [1, 0.5])
def test_the_term_of_places_is_that_of_the_batch_in_one_piece(photographs, tmp_path, share):
    """The maps of places belong to context views: with them everywhere stage C has the term, else nowhere."""
    settings, ends = ["model.sude=anchored", "train.place_weight=1", f"train.context_share={share}"], []
    for count in (1, 2):
        cfg = make(*UNEVEN, *settings, f"train.accumulate={count}")
        one = run.Run(cfg, photographs, tmp_path, torch.device("cpu"))
        batches = iter(one.loader(6, 0))
        ends.append([one.train_step(step, next(batches)) for step in range(6, 16)])
    for a, b in zip(*ends, strict=True):
        assert plain(b) == pytest.approx(plain(a), rel=1e-4, abs=2e-6)
    last = ends[1][-1]
    assert last["stage"] == "C" and (last["places"] > 0 if share == 1 else "places" not in last)


def test_splits_that_cannot_be_are_refused(photographs, tmp_path):
    with pytest.raises(UserError, match="train.batch = 4 for 1 processes x train.accumulate = 5"):
        run.Run(make("train.accumulate=5"), photographs, tmp_path, torch.device("cpu"))
    with pytest.raises(UserError, match="train.learn_pins balances the experts over the whole batch"):
        make("train.accumulate=2", "train.learn_pins=true")
    assert place() == (0, 1)
