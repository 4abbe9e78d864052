"""One reader of paths, for `model(x, path=)` and `restore(path=)`."""

import numpy as np
import pytest
import torch

from slerlib import SLERIR, UserError, config, restore
from slerlib.model.paths import path_digits, read_path

EIGHT = [0, 1, 2, 0, 1, 1, 2, 0]
FORMS = [
    "01201120",
    EIGHT,
    tuple(EIGHT),
    np.array(EIGHT),
    [np.int64(n) for n in EIGHT],
    torch.tensor(EIGHT),
    list(torch.tensor(EIGHT)),
    torch.tensor(EIGHT, dtype=torch.uint8),
    ["01201120"],
    [EIGHT],
]
EACH = [["01201120", "22222222"], torch.tensor([EIGHT, [2] * 8]), [torch.tensor(EIGHT), torch.tensor([2] * 8)]]
WRONG = [
    "0120112",
    "012011203",
    "01201123",
    "0120112-",
    "-1201120",
    "",
    [],
    [[]],
    [0] * 7,
    [3] + [0] * 7,
    [-1] + [0] * 7,
    [0.0] * 8,
    [True] * 8,
    torch.zeros(8),
    torch.zeros(8, dtype=torch.bool),
    torch.zeros(1, 1, 8, dtype=torch.long),
    [EIGHT] * 3,
    None,
    5,
    {"rain": "01201120"},
]


@pytest.mark.parametrize("path", FORMS, ids=repr)
def test_every_form_of_one_path(path):
    rows = read_path(path, 2, 3)
    assert rows.dtype == torch.int64 and rows.tolist() == [EIGHT, EIGHT]
    assert path_digits(rows[0]) == path_digits(EIGHT) == "01201120"


@pytest.mark.parametrize("path", EACH, ids=repr)
def test_a_path_for_each_image(path):
    assert read_path(path, 2, 3).tolist() == [EIGHT, [2] * 8]


@pytest.mark.parametrize("path", WRONG, ids=repr)
def test_what_is_no_path_is_refused(path):
    with pytest.raises(UserError, match=r"one expert \(0\.\.2\) for each of 8 layers.*'00000000'"):
        read_path(path, 2, 3)


@pytest.mark.parametrize("path", [FORMS[0], FORMS[1], FORMS[5], EACH[0], EACH[1]], ids=repr)
def test_the_network_and_restore_take_the_same_forms(path):
    torch.manual_seed(0)
    net = SLERIR(config.recipe("tiny").model).eval()
    x = torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        y, trace = net(x, path=path, return_trace=True)
    assert torch.equal(trace.path, read_path(path, 2, 3))
    restored, own = restore(net, x, path=path, return_trace=True)
    assert torch.equal(own.path, trace.path) and torch.equal(restored, y.clamp(0, 1))
    for call in (net, lambda x, path: restore(net, x, path=path)):
        with pytest.raises(UserError, match=r"0\.\.2.*got '0120112x'"):
            call(x, path="0120112x")
