"""The API pages: their examples give what they say, and nothing public is left out."""

import doctest
import importlib
import logging
import re

import pytest
from helpers import ROOT
from mmengine.registry import Registry

from mmcgc import registry
from mmcgc.utils import register_all_modules

PAGES = {path.name: path.read_text(encoding='utf-8') for path in sorted(ROOT.glob('docs/api/*.md'))}
PACKAGES = [
    '.'.join(path.parent.relative_to(ROOT).parts)
    for path in sorted(ROOT.glob('mmcgc/**/__init__.py'))
    if '__all__' in path.read_text(encoding='utf-8')
]


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf'^```{re.escape(language)}\n(.*?)^```$', PAGES[page], re.MULTILINE | re.DOTALL)


def entries(page: str) -> list[str]:
    """The full names of what the directives of a page name."""
    names, module = [], ''
    for block in blocks(page, '{eval-rst}'):
        for kind, arguments in re.findall(r'^\.\. ([\w:]+):: *((?:[\w.]+(?:\(\))?\n? *)+)$', block, re.MULTILINE):
            words = arguments.replace('()', '').split()
            if kind == 'currentmodule':
                module = words[0]
            else:
                names += [word if word.startswith('mmcgc.') else f'{module}.{word}' for word in words]
    return names


ENTRIES = {page: entries(page) for page in PAGES}


def found(name: str):
    module, _, attribute = name.rpartition('.')
    return getattr(importlib.import_module(module), attribute)


@pytest.fixture
def quiet():
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def long(page: str):
    return pytest.param(page, marks=[pytest.mark.slow] if page == 'analysis.md' else [])


@pytest.mark.parametrize('page', [long(page) for page in PAGES if ENTRIES[page]])
def test_examples(page, tmp_path, monkeypatch, quiet):
    """The blocks of a page, one after the other, in one namespace and an empty folder."""
    monkeypatch.chdir(tmp_path)
    test = doctest.DocTestParser().get_doctest('\n'.join(blocks(page, 'python')), {}, page, page, 0)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    report: list[str] = []
    runner.run(test, out=report.append)
    assert runner.tries > 3 and not runner.failures, ''.join(report)


@pytest.mark.parametrize('page', [page for page in PAGES if ENTRIES[page]])
def test_every_entry_exists_and_has_an_example(page):
    """Named in an example, or in the sentence before one; a hook is found by its name in a config."""
    examples = '\n'.join(blocks(page, 'python'))
    prose = re.sub(r'^```.*?^```$', '', PAGES[page], flags=re.MULTILINE | re.DOTALL)
    for name in ENTRIES[page]:
        found(name)
        short = name.rpartition('.')[2]
        assert re.search(rf'\b{short}\b', examples) or f'`{short}`' in prose, f'{name} has no example'


def test_everything_public_is_on_a_page():
    register_all_modules(init_default_scope=False)
    there = [found(name) for names in ENTRIES.values() for name in names]
    public = {f'{package}.{name}' for package in PACKAGES for name in importlib.import_module(package).__all__}
    registered = {
        f'{name}: {module.__module__}.{module.__name__}': module
        for child in vars(registry).values()
        if isinstance(child, Registry)
        for name, module in child._module_dict.items()
        if module.__module__.startswith('mmcgc.')
    }
    assert len(public) > 60 and len(registered) > 30
    missing = [name for name in public if not any(found(name) is entry for entry in there)]
    missing += [name for name, module in registered.items() if not any(module is entry for entry in there)]
    assert missing == []


def test_the_index_names_every_page():
    assert [page for page in PAGES if page != 'README.md' and f'({page})' not in PAGES['README.md']] == []
