"""Every test runs on one thread and deterministically; files go to pytest's tmp_path."""

import os
import signal
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # in a background job, and so in its processes
    signal.signal(signal.SIGINT, signal.default_int_handler)

import pytest  # noqa: E402
import torch  # noqa: E402

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _same_start():
    """Seed torch's global generator and refuse operations without a deterministic implementation.

    A lesson that fails inside this process may leave gradients off: no other test shall fail for that.
    """
    torch.manual_seed(0)
    torch.set_grad_enabled(True)
    torch.use_deterministic_algorithms(True)
    yield
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def untrained(tmp_path_factory):
    """Folder of a checkpoint of the recipe `tiny` with the weights it starts from."""
    from slerlib import SLERIR, config
    from slerlib.checkpoint import save_weights

    torch.manual_seed(0)
    cfg = config.recipe("tiny")
    card = {"name": "untrained", "config": config.to_dict(cfg)}
    return save_weights(tmp_path_factory.mktemp("checkpoints") / "untrained", SLERIR(cfg.model), card)


@pytest.fixture(scope="session")
def script():
    """A program of benchmarks/ as a module: script("graft")"""
    from importlib.util import module_from_spec, spec_from_file_location

    def script(name):
        file = Path(__file__).parent.parent / "benchmarks" / f"{name}.py"
        spec = spec_from_file_location(name, file)
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return script


@pytest.fixture
def run(capsys):
    """The command line: run("restore", ...) -> (exit code, standard output, standard error)"""

    from slerlib import cli

    def run(*args):
        try:
            code = cli.main([str(arg) for arg in args])
        except SystemExit as end:  # argparse
            code = end.code
        return code, *capsys.readouterr()

    return run
