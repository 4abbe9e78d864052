"""pyproject.toml, constraints.txt, environment.yml and the Makefile agree; the wheel carries what it needs."""

import ast
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CONDA_NAMES = {"pytorch": "torch"}


def wanted() -> dict[str, Requirement]:
    lines = PROJECT["dependencies"] + PROJECT["optional-dependencies"]["dev"]
    return {requirement.name: requirement for requirement in map(Requirement, lines)}


def pins() -> dict[str, list[Requirement]]:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
    found = {}
    for requirement in map(Requirement, lines):
        found.setdefault(requirement.name, []).append(requirement)
    return found


def test_every_dependency_is_pinned_within_its_range():
    for name, requirement in wanted().items():
        for pin in pins()[name]:
            assert str(pin.specifier).startswith("=="), pin
            assert requirement.specifier.contains(str(pin.specifier)[2:]), (name, str(requirement), str(pin))


def test_constraints_are_portable():
    assert str(pins()["torch"][0]) == "torch==2.13.0"
    for requirement in sum(pins().values(), []):
        assert requirement.url is None and "+" not in str(requirement.specifier), requirement


def test_environment_yml_is_the_same_set():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    listed = [item for item in environment["dependencies"] if isinstance(item, str)]
    pip = [item["pip"] for item in environment["dependencies"] if isinstance(item, dict)]
    conda = {}
    for line in listed:
        requirement = Requirement(line)
        conda[CONDA_NAMES.get(requirement.name, requirement.name)] = requirement.specifier
    assert pip == [["-e ."]]
    assert str(conda.pop("python")) == PROJECT["requires-python"]
    conda.pop("pip")
    assert conda == {name: requirement.specifier for name, requirement in wanted().items()}


def test_installed_versions_satisfy_the_project():
    from importlib.metadata import PackageNotFoundError, version

    for name, requirement in wanted().items():
        try:
            found = version(name)
        except PackageNotFoundError:
            assert name in ("hatchling",), f"{name} is not installed"
            continue
        assert requirement.specifier.contains(Version(found).public, prereleases=True), (name, found)


def test_no_package_host_in_shipped_set_up_files():
    for name in ("pyproject.toml", "constraints.txt", "environment.yml", "Makefile", ".ci/run", ".gitignore"):
        assert not re.search(r"https?://|file:/|--index-url|find-links", (ROOT / name).read_text()), name


@pytest.fixture
def make(tmp_path):
    """`make -n` in a copy of the set-up files, with an environment already there."""
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)

    def run(*args: str) -> str:
        env = {
            key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "TORCH", "MAKE", "MFLAGS"))
        }
        command = ["make", "-n", "--no-print-directory", *args]
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_make_report_needs_no_test_packages(make):
    lines = make("report", "REPORT_ARGS=-p images 2")
    assert ".[dev]" not in lines and "-e . -c constraints.txt" in lines
    assert lines.rstrip().endswith("-m slerlib report all -p images 2")


def test_make_app_installs_the_app_extra_and_serves_the_notebook(make):
    lines = make("app", "APP_ARGS=--port=9000")
    assert '-e ".[app]" -c constraints.txt' in lines and "JUPYTER_PATH=slerlib/widgets/share" in lines
    assert lines.rstrip().endswith("-m voila notebooks/app.ipynb --template=slerlib --port=9000")
    assert (ROOT / "slerlib/widgets/share/voila/templates/slerlib/index.html.j2").is_file()


def test_make_test_installs_the_dev_extra(make):
    lines = make("test")
    assert '-e ".[dev]" -c constraints.txt' in lines and "pytest" in lines


def test_a_finished_set_up_is_not_repeated(make, tmp_path):
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv.choice").write_text("PYTHON ?= python3\nTORCH ?= \n")
    for stamp in (".made", ".torch", ".installed", ".installed-dev"):
        (tmp_path / ".venv" / stamp).touch()
    for goal in ("report", "test", "lab", "lint", "test-all"):
        assert "pip install" not in make(goal) and "venv --clear" not in make(goal), goal
    assert "venv --clear" in make("report", "TORCH=2.12.0")  # another choice is another environment
    (tmp_path / ".venv.choice").write_text("PYTHON ?= python3.12\nTORCH ?= 2.12.0\n")
    assert "venv --clear" not in make("report")  # the choice is remembered


def test_torch_can_be_another_version_or_come_from_an_index(make):
    version = make("report", "TORCH=2.12.0")
    assert "torch==2.12.0 -c .venv/constraints.txt" in version and "/^torch==/d" in version
    assert "/^setuptools==/d" in version  # earlier versions of torch bound it
    index = make("report", "TORCH=/some/index")
    assert "torch --extra-index-url /some/index" in index and "/^torch==/d" not in index


def test_the_index_that_the_readme_names_gives_the_cpu_build(make):
    """pip takes the highest version that the constraints allow, from any index: the one with +cpu."""
    index = re.search(r"make report (TORCH=\S+/cpu)$", (ROOT / "README.md").read_text(), re.M)[1]
    assert f"torch --extra-index-url {index.removeprefix('TORCH=')} -c .venv/constraints.txt" in make("report", index)
    (pin,) = pins()["torch"]
    plain = str(pin.specifier).removeprefix("==")
    assert pin.specifier.contains(f"{plain}+cpu") and Version(f"{plain}+cpu") > Version(plain)


def test_the_wheel_carries_checkpoints_and_report_notebooks(tmp_path):
    """Built without isolation, so without a network."""
    if importlib.util.find_spec("hatchling") is None:
        pytest.skip("hatchling is not installed")
    source = tmp_path / "source"
    ignore = shutil.ignore_patterns(".git", ".venv*", "runs", "__pycache__", ".*_cache")
    shutil.copytree(ROOT, source, ignore=ignore)
    shutil.copy(ROOT / ".gitignore", source)
    if not (source / "README.md").exists():
        (source / "README.md").write_text("# slerlib\n")
    made_up = source / "data" / "checkpoints" / "made_up"
    made_up.mkdir(parents=True)
    (made_up / "model.safetensors").write_bytes(b"weights")
    (made_up / "state.pt").write_bytes(b"not shipped")
    (source / "data" / "ablations").mkdir(exist_ok=True)
    (source / "data" / "ablations" / "made_up.csv").write_text("variant,seed,task,psnr\n")
    (source / "data" / "big").mkdir()
    (source / "data" / "big" / "image.png").write_bytes(b"not shipped")
    (source / "reports").mkdir(exist_ok=True)
    (source / "reports" / "reference.json").write_text('{"entries": []}')
    (source / "notebooks").mkdir(exist_ok=True)
    (source / "notebooks" / "report_made_up.ipynb").write_text("{}")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=source,
        check=True,
        timeout=120,
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "slerlib/_checkpoints/made_up/model.safetensors" in names
    assert "slerlib/_notebooks/report_made_up.ipynb" in names and "slerlib/_registry.toml" in names
    assert {"slerlib/_reference.json", "slerlib/_glossary.md"} <= set(names)
    assert {"slerlib/report/page.css", "slerlib/report/page.html.j2", "slerlib/explain/slider.js"} <= set(names)
    assert "slerlib/cli/commands.py" in names and any(name.endswith("entry_points.txt") for name in names)
    assert not [name for name in names if name.startswith(("tests", "data")) or name.endswith((".pt", ".png"))]

    # installed elsewhere, the package finds them
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    code = (
        "from slerlib.checkpoint import find; from slerlib.report import plan; from slerlib.files import clone_root;"
        "from slerlib.ablation.tables import shipped;"
        "from slerlib.data.registry import registry, registry_file;"
        "print(find('made_up'), plan.notebooks_folder(), registry_file());"
        "assert 'made_up.csv' in [path.name for path in shipped()];"
        "assert 'rain100l' in registry();"
        "assert clone_root() is None"
    )
    env = os.environ | {"PYTHONPATH": str(site)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120
    )
    places = "_checkpoints/made_up", "_notebooks", "_registry.toml"
    assert done.stdout.split() == [str(site / "slerlib" / place) for place in places], done.stderr


@pytest.mark.parametrize("room", sorted(ROOT.glob("slerlib/*/__init__.py")), ids=lambda path: path.parent.name)
def test_the_index_of_a_room_names_every_file_in_it(room):
    listed = re.findall(r"\b\w+\.py\b", ast.get_docstring(ast.parse(room.read_text())))
    assert set(listed) == {path.name for path in room.parent.glob("*.py")} - {"__init__.py"}


def test_the_version_is_the_same_everywhere():
    import slerlib

    assert slerlib.__version__ == PROJECT["version"]
