"""A run can be verified: its files, its environment, and its numbers beside those that we measured."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from test_report import make_notebook

from slerlib import UserError, checkpoint, provenance
from slerlib.files import sha256_file
from slerlib.report import findings, manifest, page, reference, words
from slerlib.report import plan as report_plan
from slerlib.report import runs as report

ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
FOUND = """
from matplotlib.figure import Figure
from slerlib.plots.style import finished
from slerlib.report import finding
fig = Figure((2, 2)); fig.add_subplot().plot([1, 2])
numbers = {"result a": 1.0, "sphere b": float("inf")}
finding("+1 dB", "A gain of +1 dB.", finished(fig, "A line"), "On nothing.", numbers)
import pathlib; pathlib.Path("sub").mkdir(exist_ok=True); open("sub/x", "w").write("x")
"""


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """(notebook, its finished run)"""
    folder = tmp_path_factory.mktemp("original")
    source = make_notebook(folder, "made", FOUND)
    (record,) = report.run(source, out=folder / "runs", say=lambda line: None)
    assert record["state"] == "done", record["error"]
    return source, record


@pytest.fixture
def copied(original, tmp_path):
    source, record = original
    return source, Path(shutil.copytree(record["folder"].parent, tmp_path / "runs")) / record["folder"].name


def lines_of(path: Path, *args) -> tuple[bool, str]:
    lines = []
    return manifest.verify([path], *args, say=lines.append), "\n".join(lines)


def test_an_untouched_run_is_as_it_was(copied, run):
    _, folder = copied
    listed = json.loads((folder / "manifest.json").read_text())["files"]
    names = {"run.json", "notebook.ipynb", "log.txt", "index.html", "finding.json", "finding.jpg", "sub/x"}
    assert set(listed) == names
    (folder / "notes.txt").write_text("mine")
    good, text = lines_of(folder)
    assert good and "all files as they were written" in text and "notes.txt is no part of the run" in text
    assert run("report", "verify", folder.parent)[0] == 0
    code, _, error = run("report", "verify", folder.parent / "missing")
    assert code == 1 and "no run.json" in error
    assert run("report", "verify")[0] == run("report", "diff", folder)[0] == run("report", "made", folder)[0] == 2


def touch(folder: Path, change: str) -> None:
    """Change a run in one way."""
    if change == "byte":
        path = folder / "notebook.ipynb"
        whole = bytearray(path.read_bytes())
        whole[100] ^= 1
        path.write_bytes(whole)
    elif change == "page":
        (folder / "index.html").unlink()
    elif change == "artefact":
        (folder / "sub" / "x").write_text("y")
    elif change == "record":
        (folder / "run.json").write_text((folder / "run.json").read_text().replace('"done"', '"Done"'))
    elif change == "manifest":
        (folder / "manifest.json").unlink()
    elif change == "torn manifest":
        (folder / "manifest.json").write_text('{"files": [3]}')


@pytest.mark.parametrize(
    ("change", "words"),
    [("byte", "notebook.ipynb has changed"), ("page", "index.html is missing"), ("artefact", "sub/x has changed"),
     ("record", "run.json has changed"), ("manifest", "manifest"), ("torn manifest", "does not list files")],
)  # fmt: skip
def test_verify_names_what_changed(copied, run, change, words):
    _, folder = copied
    touch(folder, change)
    good, text = lines_of(folder, True)
    assert not good and words in text
    for words_of_command in ((folder, "--files"), ("--files", folder)):
        code, out, _ = run("report", "verify", *words_of_command)
        assert code == 1 and words in out


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("verify", "folder", "--out", "x"), "--out is for running a report; verify takes folders"),
        (("diff", "a", "b", "-p", "images", "2", "--resume"), "-p, --resume is for running a report"),
        (("routing", "--files"), "--files is for verify"),
    ],
)
def test_options_that_would_do_nothing_are_refused(run, words, reason):
    code, _, error = run("report", *words)
    assert code == 2 and reason in error


def test_a_run_that_changed_is_not_already_done(copied):
    source, folder = copied
    touch(folder, "byte")
    lines = []
    (again,) = report.run(source, out=folder.parent, say=lines.append)
    assert not again["skipped"] and again["state"] == "done" and again["folder"] != folder
    assert "does not count (notebook.ipynb has changed" in lines[0]
    (again["folder"] / "index.html").unlink()  # a kill before the page leaves no page: it is made again as it was
    (third,) = report.run(source, out=folder.parent, resume=True, say=lines.append)
    assert third["skipped"] and third["folder"] == again["folder"] and lines_of(again["folder"], True)[0]


def test_verify_names_another_environment(copied, monkeypatch):
    source, folder = copied
    real = provenance.versions
    monkeypatch.setattr(provenance, "versions", lambda *args: real(*args) | {"torch": "1.0"})
    good, text = lines_of(folder)
    assert not good and "environment: version of torch: " in text and "1.0 here" in text
    assert lines_of(folder, True)[0], "the files alone are as they were"
    monkeypatch.undo()
    assert lines_of(folder)[0]
    source.write_text(source.read_text().replace("On nothing", "On something"))
    try:
        assert "environment: notebook: " in lines_of(folder)[1]
        source.rename(source.with_suffix(".old"))
        assert "the same run is not possible here" in lines_of(folder)[1]
    finally:
        source.with_suffix(".old").rename(source)
        source.write_text(source.read_text().replace("On something", "On nothing"))


def test_an_own_notebook_with_a_bundled_name_and_a_tuple_is_compared_with_itself(tmp_path):
    source = make_notebook(tmp_path, "evaluation", parameters="x: tuple = (1, 2)\nd = {'a': (3,)}")
    (plan,) = report_plan.make_plans(report_plan.find_sources([source]), {"x": "3,4"})
    record = report_plan.first_record(plan)
    assert record["parameters"] == {"x": [3, 4], "d": {"a": [3]}} and record["changed"] == {"x": [3, 4]}
    again = manifest.record_here(json.loads(json.dumps(record)))
    assert again["notebook"] == str(source) and manifest.differences(record, again) == []
    moved = record | {"notebook": str(tmp_path / "gone" / "report_evaluation.ipynb"), "parameters": {}}
    assert manifest.record_here(moved)["notebook"] == str(report_plan.available()["evaluation"])


def test_diff_names_the_inputs_that_differ(copied, run):
    source, folder = copied
    (other,) = report.run(source, {"images": 2, "seed": 3}, folder.parent, say=lambda line: None)
    code, out, _ = run("report", "diff", folder, other["folder"])
    assert code == 0 and "parameter images: 0 -> 2" in out and "parameter seed: 0 -> 3" in out
    assert f"first   {folder}" in out and f"second  {other['folder']}" in out, "a report may have an A and a B"
    assert "version of" not in out and "A gain of +1 dB." in out
    assert "No input that both record differs" in run("report", "diff", folder, folder)[1]
    code, _, error = run("report", "diff", folder, folder.parent)
    assert code == 1 and "no whole run.json" in error


# --- the reference ----------------------------------------------------------------------------------------------------


def test_a_run_keeps_its_finding(original):
    _, record = original
    answer = findings.read_finding(record["folder"])
    assert answer == record["finding"] and answer["headline"] == "+1 dB" and answer["alt"] == "A line"
    assert answer["numbers"] == {"result a": 1.0}, "infinity is no number to compare"
    assert record["reference"]["verdict"] == "none" and "no reference for this checkpoint" in record["reference"]["why"]
    demo = {"data": {"name": "demo", "sha256": None}, "checkpoint": {"name": "tiny", "sha256": "ab" * 32}}
    what = page._what(record | {"provenance": record["provenance"] | demo})
    assert what == f"Report made · tiny (sha256 {'ab' * 8}) · the bundled photographs · seed 0 · {page.when(record)}"
    assert (record["folder"] / findings.PICTURE).read_bytes()[:2] == b"\xff\xd8"


def entry(**values) -> dict:
    made = {"report": "made", "weights": ["w", None], "changed": {}, "device": "cpu", "made": "2026-11-30", "code": "c"}
    return (
        made
        | {"versions": {"torch": "1"}, "seeds": [0, 1, 2, 3, 4], "bands": {"input a": [1, 2], "result a": [3, 4]}}
        | values
    )


def record_of(**values) -> dict:
    origin = {"hardware": {"gpus": []}, "versions": {"torch": "1"}, "code": "c"}
    return {"name": "made", "hashes": {"checkpoint_sha256": "w"}, "changed": {}, "provenance": origin} | values


def test_the_reference_belongs_to_weights_and_parameters():
    numbers = {"input a": 1.5, "result a": 3.5}
    judged = reference.judge(record_of(), numbers, [entry()])
    assert judged["verdict"] == "agrees" and "All 2 numbers" in judged["why"]
    other = reference.judge(record_of(hashes={"checkpoint_sha256": "v"}), numbers, [entry()])
    assert other["verdict"] == "none" and "no reference for this checkpoint" in other["why"]
    values = reference.judge(record_of(changed={"images": 2}), numbers, [entry()])
    assert values["verdict"] == "none" and "no reference for these parameters" in values["why"]
    both = [entry(bands={"input a": [9, 9]}, device="cuda"), entry()]
    assert reference.judge(record_of(), numbers, both)["outside"] == [], "the entry of the same device counts"
    on_gpu = record_of(provenance={"hardware": {"gpus": [{"name": "H200"}]}, "versions": {"torch": "2"}, "code": "d"})
    why = reference.judge(on_gpu, numbers | {"result a": 5.0}, [entry()])["why"]
    for text in ("1 of 2 numbers", "look at the experts", "torch 1 then, 2 now", "on cuda", "The code of slerlib"):
        assert text in why, text


def test_a_number_that_is_missing_is_outside():
    judged = reference.judge(record_of(), {"input a": 1.5}, [entry()])
    assert judged["verdict"] == "differs" and judged["outside"] == ["result a"]
    assert judged["bands"] == {"input a": [1.5, 1, 2], "result a": [None, 3, 4]}


def seeded(seed: int, **values) -> dict:
    return record_of(parameters={"seed": seed}, **values)


def test_a_run_with_the_same_seed_must_have_the_very_numbers_of_that_seed():
    wide = entry(
        bands={"input a": [1, 9], "result a": [2, 30]}, values={"0": {"input a": 5, "result a": 20}}, seeds=[0, 1]
    )
    own, other = {"input a": 5.005, "result a": 20.04}, {"input a": 5.005, "result a": 20.2}
    assert reference.judge(seeded(0), own, [wide])["verdict"] == "agrees"
    judged = reference.judge(seeded(0), other, [wide])
    assert judged["outside"] == ["result a"] and "the values of seed 0" in judged["why"]
    judged = reference.judge(seeded(7), other, [wide])
    assert judged["verdict"] == "agrees" and "the bands of 2 seeds" in judged["why"], "of that seed nothing is known"
    gpu = {"provenance": {"hardware": {"gpus": [{"name": "H200"}]}, "versions": {"torch": "1"}, "code": "c"}}
    assert reference.judge(seeded(0, **gpu), other, [wide])["verdict"] == "agrees", "other devices round otherwise"


@pytest.mark.parametrize(
    ("start", "band", "expected"),
    [
        (15.0, [14, 20], "differs"),  # the band held the input: whoever does nothing agreed
        (21.0, [14, 22], "agrees"),  # mostly worse: another seed may do better, no number can tell
        (21.0, [14, 18], "differs"),  # one that always makes it worse
        (17.2, [14, 20], "agrees"),  # it should come back as it went in: no number can tell
        (12.0, [14, 20], "differs"),
    ],
)
@pytest.mark.parametrize("name", ["result a", "result a of B"])
def test_no_band_holds_the_input(start, band, expected, name):
    judged = reference.judge(seeded(9), {"input a": start, name: start}, [entry(bands={name: band}, seeds=[0])])
    assert judged["verdict"] == expected, judged
    assert judged["untold"] == ([name] if expected == "agrees" else [])
    assert ("Cannot tell" in judged["why"]) == (expected == "agrees")
    value, low, high = judged["bands"][name]
    assert expected == "agrees" or not low <= start <= high, (low, high)


def test_the_page_shows_every_number_beside_its_band(tmp_path):
    numbers = {"input a": 10.0, "result a": 10.0, "input b": 20.0, "result b": 20.0}
    bands = {"input a": [9, 11], "result a": [9, 31], "result b": [19, 21]}
    record = seeded(9, state="done", reference=reference.judge(
        seeded(9), numbers, [entry(bands=bands, seeds=[0])]
    ))  # fmt: skip
    text = page._judged(record)
    assert "<summary>3 numbers beside the reference</summary>" in text and '<details class="bands" open>' in text
    rows = {row.partition("</th>")[0].rpartition(">")[2]: row for row in text.split("<tr class=")[1:]}
    assert "<td>10.00</td><td>10.10 to 31.00</td><td>outside</td>" in rows["PSNR restored a"]
    assert "inside" in rows["PSNR input a"] and "cannot tell" in rows["PSNR restored b"]
    assert "slerlib's own earlier numbers" in text and "paper" in text


def test_numbers_have_the_labels_of_their_tables_and_words_their_meaning():
    assert words.label("result lost by modal") == "dB lost, most frequent path of the true degradation"
    assert words.label("sphere knn_accuracy") == "accuracy, 5 nearest points"
    assert words.label("input rain") == "PSNR input rain" and words.label("else") == "else"
    used = words.words_of('<p title="router">Pins of noise25</p>')
    assert used.count("<dt>") == 1 and "<dt>noise15, noise25, noise50</dt>" in used, "neither a tag nor Pins"
    assert words.words_of("<p>-</p>") == ""


def test_wide_bands_say_what_they_find():
    judged = reference.judge(seeded(9), {"result a": 10.0}, [entry(bands={"result a": [5, 15]}, seeds=[0])])
    assert "up to 10.0 dB wide: this finds a broken run, not a small fault" in judged["why"]


def test_bands_are_three_times_as_wide_as_the_seeds_lie_apart():
    assert reference.band([1.0, 2.0, 1.2, 1.8, 1.5]) == (0.0, 3.0)
    assert reference.band([5.0] * 5) == (5 - reference.ROUNDING, 5 + reference.ROUNDING)


def test_the_file_has_the_included_checkpoint():
    """New weights need new numbers: python reports/make_reference.py"""
    entries = json.loads(reference.reference_file().read_text())["entries"]
    tiny = checkpoint.weights_file("tiny")
    apart = ("compare", "training")  # of two checkpoints, and of none
    own = [one for one in entries if one["weights"][0] == sha256_file(tiny) or one["report"] in apart]
    assert {one["report"] for one in own} == set(report_plan.available())
    for one in own:
        assert len(one["seeds"]) == 5 and one["bands"] and all(low < high for low, high in one["bands"].values())
        assert "0" in one["values"] or one["report"] == "training", "the seed that reports have of their own"
        assert all(set(values) >= set(one["bands"]) for values in one["values"].values())


def shuffled_expert(net) -> None:
    for weights in net.stages[6].experts[1].parameters():
        weights.data = weights.data.flatten()[torch.randperm(weights.numel())].view_as(weights)


def zeroed_encoder(net) -> None:
    for weights in net.encoder.parameters():
        weights.data.zero_()


def swapped_anchors(net) -> None:
    net.router.anchors.data = net.router.anchors.data[[3, 1, 2, 0, 4, 5, 6, 7]]


def identity(net) -> None:
    net.backbone = lambda x_BCHW, guide, trace, **options: (x_BCHW, trace)


@pytest.mark.parametrize(
    ("fault", "words"),
    [(None, "agree"), (shuffled_expert, "look at the experts"), (zeroed_encoder, "look at the encoder"),
     (swapped_anchors, "look at the encoder and at the anchors"), (identity, "look at the experts")],
)  # fmt: skip
def test_broken_networks_fall_outside_the_reference(fault, words, tmp_path, monkeypatch):
    """The weights have the right hash, and what the code makes of them is wrong."""
    import slerlib

    monkeypatch.syspath_prepend(ROOT / "reports")
    from make_reference import numbers_of

    load = slerlib.load

    def broken(name):
        net = load(name)
        if fault:
            fault(net)
        return net

    monkeypatch.setattr(slerlib, "load", broken)
    (plan,) = report_plan.make_plans({"evaluation": report_plan.available()["evaluation"]}, {"images": 2})
    record, numbers = report_plan.first_record(plan), numbers_of(plan)
    for seed, kind in ((0, "the values of seed 0"), (1000, "the bands of 5 seeds")):
        record["parameters"]["seed"] = seed  # of 1000 the file knows nothing; the numbers of 0 lie in the bands
        judged = reference.judge(record, numbers)
        print(judged)
        assert judged["verdict"] == ("differs" if fault else "agrees") and words in judged["why"]
        assert kind in judged["why"]


def test_several_folders_are_checked_in_one_go(copied, tmp_path):
    lines, (_, folder) = [], copied
    assert manifest.verify([folder, folder.parent, folder], True, lines.append) and len(lines) == 1, "each run once"
    with pytest.raises(UserError, match="holds no run.json"):
        manifest.verify([folder, tmp_path / "none"], True, lines.append)
