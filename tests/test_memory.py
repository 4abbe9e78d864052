"""Freed memory is kept where glibc is there to keep it, and the person's own settings win."""

import platform

import pytest

from slerlib import memory


@pytest.fixture(autouse=True)
def fresh():
    memory.keep_freed_memory.cache_clear()
    yield
    memory.keep_freed_memory.cache_clear()


def test_it_takes_effect_with_glibc():
    assert memory.keep_freed_memory() == (platform.libc_ver()[0] == "glibc")


def test_settings_of_the_environment_win(monkeypatch):
    monkeypatch.setenv("MALLOC_ARENA_MAX", "2")
    assert memory.keep_freed_memory() is False
