"""The tree is as CONTRIBUTING.md describes it: rooms, imports, the map, and the commands that CI runs."""

import ast
import re
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from helpers import ROOT

GUIDE = (ROOT / 'CONTRIBUTING.md').read_text(encoding='utf-8')
# A module imports from its own room and from rooms of earlier lines.
FLOORS = (
    {'version', 'extras', 'after_import', 'signatures', 'progress', 'moved'},
    {'plain_text', 'command_line', 'whole_file'},
    {'zoo'},
    {'registry', 'library_names'},
    {'utils', 'ops'},
    {'about', 'library_counts'},
    {'layers'},
    {'checkpoints'},
    {'compat'},
    {'models'},
    {'datasets'},
    {'evaluation'},
    {'export', 'engine'},
    {'apis'},
    {'analysis'},
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}


@cache
def imports() -> dict[str, set[str]]:
    """The modules of mmcgc that each module imports, wherever in the file it does."""
    paths = {'.'.join(path.relative_to(ROOT).with_suffix('').parts): path for path in (ROOT / 'mmcgc').rglob('*.py')}
    names = {name.removesuffix('.__init__') for name in paths}
    found = {}
    for name, path in paths.items():
        package = name.removesuffix('.__init__') if name.endswith('.__init__') else name.rpartition('.')[0]
        found[name.removesuffix('.__init__')] = {
            target
            for node in ast.walk(ast.parse(path.read_text(encoding='utf-8')))
            for target in targets(node, package, names)
        }
    return found


def targets(node: ast.AST, package: str, names: set[str]) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names if alias.name in names]
    if not isinstance(node, ast.ImportFrom):
        return []
    parts = package.split('.')[: 1 - node.level or None] if node.level else []
    module = '.'.join([*parts, *([node.module] if node.module else [])])
    if module not in names:
        return []
    inner = [f'{module}.{alias.name}' for alias in node.names]
    return [name if name in names else module for name in inner]


def room(module: str) -> str:
    return module.split('.')[1]


def test_every_room_has_a_floor():
    rooms = {room(module) for module in imports() if module.count('.') and not module.endswith('__main__')}
    assert rooms == set(FLOOR)


def test_no_import_goes_upward():
    upward = [
        (module, target)
        for module, used in imports().items()
        for target in used
        if module != 'mmcgc'
        and not module.endswith('__main__')
        and target != 'mmcgc'
        and room(module) != room(target)
        and FLOOR[room(target)] >= FLOOR[room(module)]
    ]
    assert upward == []


def test_no_circle():
    """A package's ``__init__`` collects what lies below it, and nothing below asks it for its neighbours."""
    modules = {name: {target for target in used if target != name} for name, used in imports().items()}
    list(TopologicalSorter(modules).static_order())


def test_a_circle_would_be_noticed():
    with pytest.raises(ValueError, match='cycle'):
        list(TopologicalSorter({'a': {'b'}, 'b': {'a'}}).static_order())


@pytest.mark.parametrize('path', sorted(set(re.findall(r'`((?:mmcgc|tools|configs|tests|docs|\.ci)/[^`\s]+)`', GUIDE))))
def test_the_map_names_what_exists(path):
    assert (ROOT / path).exists()


def test_the_map_names_every_room():
    """A package by its folder, and everything that lies beside the packages but the version."""
    rooms = [path for path in (ROOT / 'mmcgc').iterdir() if path.suffix == '.py' or (path / '__init__.py').exists()]
    rooms = [path for path in rooms if path.name not in ('__init__.py', 'version.py')]
    missing = [path.name for path in rooms if f'`{path.relative_to(ROOT).as_posix()}`' not in GUIDE]
    assert missing == []


def test_the_map_lists_rooms_below_those_that_they_import_from():
    table = re.search(r'\n\| room \|.*?\n\n', GUIDE, re.DOTALL)[0]
    names = re.findall(r'^\| ?(`mmcgc/.*?) \|', table, re.MULTILINE)
    floors = [FLOOR[name] for row in names for name in re.findall(r'`mmcgc/(\w+)', row) if name != '__main__']
    assert len(floors) == len(FLOOR) - 1 and floors == sorted(floors)  # the version is not in the map


def test_ci_runs_the_commands_of_the_readme():
    listed = re.findall(r"""^step (['"])(.+?)\1(?: \||$)""", (ROOT / '.ci/run').read_text(), re.MULTILINE)
    listed = [command for _, command in listed]
    readme = re.findall(r'^```shell\n(pip install .*)\n```$', (ROOT / 'README.md').read_text(), re.MULTILINE)
    assert len(readme) == 2 and listed[:2] == readme


def test_hooks_and_workflow_call_what_ci_runs():
    script = (ROOT / '.ci/run').read_text()
    assert 'ruff check' in script and 'ruff check' in Path(ROOT, '.pre-commit-config.yaml').read_text()
    assert 'bash .ci/run' in (ROOT / '.github/workflows/ci.yml').read_text()


def test_types_are_checked_by_the_hook_and_by_the_workflow():
    hooks, workflow = (ROOT / name for name in ('.pre-commit-config.yaml', '.github/workflows/ci.yml'))
    assert 'entry: mypy' in hooks.read_text() and re.search(
        r'- pip install .*&& mypy$', workflow.read_text(), re.MULTILINE
    )
    listed = re.search(r'^files = \[(.*?)\]', (ROOT / 'pyproject.toml').read_text(), re.MULTILINE | re.DOTALL)[1]
    assert [path for path in re.findall(r"'(.+?)'", listed) if not (ROOT / path).is_file()] == []
