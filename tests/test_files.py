"""Files of our own: read with a clear refusal, written whole or not at all."""

import errno
import os

import pytest

from slerlib import UserError, files


def test_an_object_with_its_keys_is_read(tmp_path):
    (tmp_path / "a.json").write_text('{"name": "é", "steps": 1}', encoding="utf-8")
    assert files.read_json(tmp_path / "a.json", "A card", ("name",)) == {"name": "é", "steps": 1}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (None, os.strerror(errno.ENOENT)),
        (b"", "not valid JSON"),
        (b'{"name": ', "not valid JSON"),
        (b"[1]", "list"),
        (b"3", "int"),
        (b"null", "NoneType"),
        (b'{"steps": 1}', "lacks name"),
        (b"\xff\xfe", "UTF-8"),
        (b"[" * 100_000, "not valid JSON"),
    ],
)
def test_a_damaged_file_is_refused_with_its_path_and_the_next_step(tmp_path, data, reason):
    path = tmp_path / "card.json"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(UserError) as error:
        files.read_json(path, "A card", ("name",), "Copy the checkpoint again.")
    text = str(error.value)
    assert text.startswith("A card") and str(path) in text and reason in text
    assert text.endswith("Copy the checkpoint again.")


@pytest.mark.parametrize(("number", "words"), [(errno.ENOSPC, "full"), (errno.EROFS, "read-only"), (errno.EACCES, "")])
def test_a_disk_that_takes_no_file_is_named_in_plain_words(tmp_path, number, words):
    text = str(files.unwritable("Weights go to a folder", tmp_path, OSError(number, os.strerror(number))))
    assert words in text and os.strerror(number) in text and str(tmp_path) in text and "Errno" not in text
