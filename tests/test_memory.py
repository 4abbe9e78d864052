"""Freed memory is kept where glibc is there to keep it, and the person's own settings win."""

import os
import platform

import pytest

from slerlib.inference import memory


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    for name in [name for name in os.environ if name.startswith("MALLOC_")]:
        monkeypatch.delenv(name)
    memory.keep_freed_memory.cache_clear()
    yield
    memory.keep_freed_memory.cache_clear()


def test_it_takes_effect_with_glibc():
    library, version = platform.libc_ver()
    recent = library == "glibc" and tuple(map(int, version.split("."))) >= (2, 36)  # older ones may refuse the size
    assert memory.keep_freed_memory() or not recent


def test_settings_of_the_environment_win(monkeypatch):
    monkeypatch.setenv("MALLOC_ARENA_MAX", "2")
    assert memory.keep_freed_memory() is False
