"""Repairs that wait for the import of another library."""

import importlib
import importlib.util
import sys

import pytest

from mmcgc.after_import import after_import


@pytest.fixture
def library(tmp_path, monkeypatch):
    (tmp_path / 'some_library.py').write_text('value = 1\n', encoding='utf-8')
    monkeypatch.syspath_prepend(tmp_path)
    yield 'some_library'
    sys.modules.pop('some_library', None)


def test_waits_for_the_import(library):
    seen = []
    after_import(library, lambda module: seen.append(module.value))
    after_import(library, lambda module: seen.append(-module.value))
    assert importlib.util.find_spec(library) and not seen and library not in sys.modules
    importlib.import_module(library)
    assert seen == [1, -1]
    sys.modules.pop(library)
    importlib.import_module(library)
    assert seen == [1, -1], 'called once'


def test_calls_at_once_where_it_is_imported(library):
    module = importlib.import_module(library)
    seen = []
    after_import(library, seen.append)
    assert seen == [module]


def test_a_missing_library_stays_missing():
    after_import('no_such_library', lambda module: None)
    assert importlib.util.find_spec('no_such_library') is None
    with pytest.raises(ModuleNotFoundError, match='no_such_library'):
        importlib.import_module('no_such_library')
