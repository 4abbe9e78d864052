"""Spoiled input of every kind ends in a result or in a paragraph, within 10 s and 1 GB; the found cases one by one."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import fuzzing
import pytest
import torch

from slerlib import config
from slerlib.ablation import tables
from slerlib.checkpoint import load_net
from slerlib.cli import commands
from slerlib.cli.plain import Plain
from slerlib.data import check, pairing
from slerlib.errors import UserError
from slerlib.images import write_image
from slerlib.model.network import SLERIR, least_parameters, parameter_counts
from slerlib.report.plan import find_sources, make_plans


@pytest.fixture(scope="module")
def given(tmp_path_factory, untrained):
    samples = fuzzing.samples(tmp_path_factory.mktemp("samples"))
    return samples | {"checkpoint": untrained, "table": tables.shipped()[0].read_bytes()}


def run_campaign(kind, cases, first, given, tmp_path, record_property, capsys):
    counts, faults = fuzzing.campaign(kind, cases, tmp_path, given, first)
    for name in ("handled", "refused", "crashed", "lost"):
        record_property(name, counts[name])
    shown = ", ".join(f"{counts[name]} {name}" for name in ("refused", "handled", "crashed", "lost"))
    with capsys.disabled():
        print(f"\nfuzz {kind}: {cases} tried, {shown}")
    assert counts.total() == cases and not faults, "\n\n".join(faults[:5])
    assert counts["handled"], "no case was handled: the samples themselves are refused"
    if kind != "run.json":  # foreign records are passed over
        assert counts["refused"], "no case was refused: the changes reach no check"


@pytest.mark.parametrize("kind", fuzzing.KINDS)
def test_spoiled_input_ends_in_a_result_or_a_paragraph(kind, given, tmp_path, record_property, capsys):
    run_campaign(kind, 40, 0, given, tmp_path, record_property, capsys)


@pytest.mark.long
@pytest.mark.parametrize("kind", fuzzing.KINDS)
def test_ten_thousand_cases(kind, given, tmp_path, record_property, capsys):
    run_campaign(kind, 1250, 1000, given, tmp_path, record_property, capsys)


HARNESS = """
import os
import fuzzing

fuzzing.SECONDS, fuzzing.BYTES = 1, 100 << 20
assert fuzzing.outcome(lambda: 1 / 0)[0] == "crashed"
assert fuzzing.outcome(lambda: int("x"))[0] == "crashed"
fuzzing.BYTES = 1 << 40
assert fuzzing.outcome(lambda: [None for _ in iter(int, 1)])[0] == "lost"
fuzzing.BYTES = 100 << 20
assert fuzzing.outcome(lambda: bytearray(os.urandom(1)) * (400 << 20))[0] == "lost"
assert fuzzing.outcome(lambda: None) == ("handled", "")
"""


def test_a_crash_a_late_and_a_large_case_are_seen():
    """The harness itself: what it counts as a fault. In a process of its own, whose memory nothing else has filled."""
    done = subprocess.run([sys.executable, "-c", HARNESS], cwd=Path(__file__).parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# --- cases that were found


def test_folders_that_are_linked_to_each_other(tmp_path):
    for name in "abcdefgh":
        (tmp_path / name).mkdir()
        write_image(tmp_path / name / "x.png", torch.zeros(3, 8, 8))
    for name in "abcdefgh":
        for other in "abcdefgh":
            if other != name:
                (tmp_path / name / f"to_{other}").symlink_to(tmp_path / other)
    how, why = fuzzing.outcome(lambda: check.check(tmp_path))
    assert how == "refused" and "linked to each other" in why


def test_a_folder_may_be_linked_in_many_places(tmp_path):
    shared = tmp_path / "shared"
    shared.mkdir()
    write_image(shared / "x.png", torch.zeros(3, 8, 8))
    for n in range(100):
        (tmp_path / f"scene{n}").mkdir()
        (tmp_path / f"scene{n}" / "gt").symlink_to(shared)
    assert sum(bool(images) for _, images in pairing.image_folders(tmp_path)) == 101


def test_far_too_many_blocks(untrained, tmp_path):
    with pytest.raises(UserError, match="encoder_blocks"):
        config.with_overrides(config.recipe("tiny"), ["model.encoder_blocks=10000000"])
    shutil.copytree(untrained, tmp_path / "net")
    card = json.loads((tmp_path / "net" / "card.json").read_text())
    for values, words in (({"encoder_blocks": 1e7}, "encoder_blocks"), ({"encoder_blocks": 1000}, "at least"),
                          ({"stages": [1000] * 8, "width": 4096}, "at least")):  # fmt: skip
        changed = card | {"config": card["config"] | {"model": card["config"]["model"] | values}}
        (tmp_path / "net" / "card.json").write_text(json.dumps(changed))
        how, why = fuzzing.outcome(lambda: load_net(tmp_path / "net"))
        assert how == "refused" and words in why


def test_a_network_larger_than_memory_is_refused_before_it_is_built():
    cfg = config.with_overrides(config.recipe("tiny"), ["model.width=4096", "model.stages=" + ",".join(["100"] * 8)])
    how, why = fuzzing.outcome(lambda: SLERIR(cfg.model))
    assert how == "refused" and "must fit into memory" in why


@pytest.mark.parametrize("name", ["tiny", "small", "base"])
@pytest.mark.parametrize("block", ["naf", "restormer"])
def test_the_bound_on_parameters_is_below_their_number(name, block):
    cfg = config.with_overrides(config.recipe(name), [f"model.block={block}"]).model
    counts = parameter_counts(SLERIR(cfg))
    assert 0.2 * counts["total"] < least_parameters(cfg) < counts["total"] + counts["guidance"]


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink(path, path)])
def test_a_card_that_is_no_file(untrained, tmp_path, make):
    shutil.copytree(untrained, tmp_path / "net")
    (tmp_path / "net" / "card.json").unlink()
    make(tmp_path / "net" / "card.json")
    how, why = fuzzing.outcome(lambda: load_net(tmp_path / "net"))
    assert how == "refused" and "card" in why.lower()


@pytest.mark.parametrize("reader", ["card", "configuration", "list"])
def test_deeply_nested_json(untrained, tmp_path, reader):
    deep = "[" * 200_000
    if reader == "card":
        shutil.copytree(untrained, tmp_path / "net")
        (tmp_path / "net" / "card.json").write_text(deep)
        how, why = fuzzing.outcome(lambda: load_net(tmp_path / "net"))
    elif reader == "configuration":
        how, why = fuzzing.outcome(lambda: config.from_json(deep))
    else:
        (tmp_path / "pairs.jsonl").write_text(deep)
        how, why = fuzzing.outcome(lambda: check.as_text(check.check(tmp_path)))
    assert how == "refused", why


@pytest.mark.parametrize("text", ["", "\n", "variant,seed,task,psnr\n", "\0"])
def test_an_empty_table(tmp_path, text):
    (tmp_path / "ablations.csv").write_text(text)
    how, why = fuzzing.outcome(lambda: tables.read(tmp_path / "ablations.csv"))
    assert how == "refused" and "table of ablations" in why


def test_a_name_of_300_letters(run, tmp_path, untrained):
    write_image(tmp_path / "a.png", torch.zeros(3, 20, 20))
    long = tmp_path / ("x" * 300 + ".png")
    for words in ((tmp_path / "a.png", long), (long, tmp_path / "b.png")):
        code, _, err = run("restore", *words, "--checkpoint", untrained)
        assert code == 1 and "not foreseen" not in err and "Traceback" not in err
        assert "name" in err
    code, _, err = run("restore", tmp_path / "a.png", tmp_path / "b.png", "--trace", long.with_suffix(".json"))
    assert code == 1 and "255 bytes" in err and "not foreseen" not in err


def test_a_terminal_is_not_obeyed(run, tmp_path, untrained):
    name = "a\x1b[2J\x07\u202e.png"
    write_image(tmp_path / "plain.png", torch.zeros(3, 20, 20))
    (tmp_path / "in").mkdir()
    (tmp_path / "plain.png").rename(tmp_path / "in" / name)
    (tmp_path / "in" / "\x1b]0;broken.png").write_bytes(b"no picture")
    code, out, err = run("restore", tmp_path / "in", tmp_path / "out\x1b[31m", "--checkpoint", untrained)
    assert code == 1 and "\\x1b]0;broken.png" in err and "Restored 1 of 2" in out
    code, out, err2 = run("restore", tmp_path / f"{name}x", tmp_path / "b.png", "--checkpoint", untrained)
    assert code == 1
    for text in (out, err, err2):
        assert not set(text) & set("\x1b\x07\u202e")
    assert (tmp_path / "out\x1b[31m" / name).is_file()


def test_a_lack_of_memory_on_a_processor_names_the_next_step():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60)
    assert "--tile" in commands._paragraph(caught.value)


def test_plain_output_keeps_all_else(capsys):
    stream = Plain(sys.stdout)
    print("ä 名 🙂\ttab\n", "\x9b1m", file=stream)
    stream.write("\r50 %")  # a bar begins so; a name may hold one anywhere
    stream.write("a\r\nb")
    assert stream.encoding == sys.stdout.encoding and stream.isatty() is sys.stdout.isatty()
    assert capsys.readouterr().out == "ä 名 🙂\ttab\n \\x9b1m\n\r50 %a\\r\nb"


@pytest.mark.parametrize(
    "name, values, words",
    [
        ("evaluation", {"severity": "7"}, "severity must be a number from 0 to 1; got '?7"),
        ("evaluation", {"images": "-1"}, "images must be"),
        ("evaluation", {"crop": "centre"}, "crop must be"),
        ("evaluation", {"setting": "4"}, "setting must be one of"),
        ("evaluation", {"several": "-3"}, "several is a whole number"),
        ("embedding", {"severities": "[0.5, 2]"}, "severity must be"),
        ("embedding", {"extra": "fog"}, "fog"),
        ("routing", {"draws": "-1"}, "draws is a whole number"),
        ("compare", {"tasks": "rain,fog"}, "fog"),
    ],
)
def test_settings_that_would_fail_inside_a_cell(name, values, words):
    with pytest.raises(UserError, match=words):
        make_plans(find_sources([name]), values)


def test_a_pipe_in_the_place_of_a_picture_ends_at_once(tmp_path, untrained):
    os.mkfifo(tmp_path / "a.png")
    words = ["restore", tmp_path / "a.png", tmp_path / "b.png", "--checkpoint", untrained]
    done = subprocess.run([sys.executable, "-m", "slerlib", *words], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and "is a device or a pipe" in done.stderr


def test_a_folder_with_pipes_and_links_is_restored_and_each_of_them_named(tmp_path, untrained):
    """To look into a pipe would wait for ever, by its name or by its first bytes."""
    (tmp_path / "in").mkdir()
    (tmp_path / "elsewhere").mkdir()
    write_image(tmp_path / "in/a.png", torch.rand(3, 24, 30, generator=torch.Generator().manual_seed(0)))
    os.mkfifo(tmp_path / "in/b.png")
    os.mkfifo(tmp_path / "in/without_suffix")
    (tmp_path / "in/more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in/long.png").symlink_to("b" * 300)
    words = ["restore", tmp_path / "in", tmp_path / "out", "--checkpoint", untrained]
    done = subprocess.run([sys.executable, "-m", "slerlib", *words], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and (tmp_path / "out/a.png").is_file()
    for name in ("b.png", "without_suffix"):
        assert f"{tmp_path / 'in' / name} is a device or a pipe. Put a file in its place" in done.stderr
    assert f"{tmp_path / 'in/long.png'} cannot be read (File name too long)" in done.stderr
    assert f"links to folders: 1, such as {tmp_path / 'in/more'}" in done.stdout
