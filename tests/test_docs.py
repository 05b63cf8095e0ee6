"""Every page keeps its word: commands parse and name what exists, configs build, Python runs, messages are real."""

import ast
import json
import os
import re
import runpy
import shlex
import subprocess
import sys
import xml.etree.ElementTree
from pathlib import Path

import pytest
from helpers import ROOT, onnx_runtime
from mmengine.config import Config
from mmengine.registry import HOOKS, MODELS, VISBACKENDS

from mmcgc.apis.launch import load_config

PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding='utf-8')
    for path in sorted([*ROOT.glob('*.md'), *ROOT.glob('docs/**/*.md'), *ROOT.glob('configs/**/*.md')])
}
GUIDES = [name for name in PAGES if name.startswith('docs/') and not name.startswith('docs/api/')]
TRAINING_TOOLS = ('tools/train.py', 'tools/test.py')


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf'^```{language}\n(.*?)^```$', PAGES[page], re.MULTILINE | re.DOTALL)


def commands(page: str) -> list[str]:
    """The commands of a page's shell blocks, one a line, comments and line ends left out."""
    text = '\n'.join(blocks(page, 'shell')).replace('\\\n', ' ')
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith('#')]
    return [part.strip() for line in lines for part in line.split(' && ')]


COMMANDS = sorted({command for page in PAGES for command in commands(page)})


def expand(command: str, environment: dict) -> list[str]:
    """The words of a command as bash would give them to the program: variables, braces and quotes resolved."""
    code = f'printf "%s\\0" {command}'
    done = subprocess.run(['bash', '-c', code], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.split('\0')[:-1]


def parse(words: list[str], monkeypatch):
    """Let a tool parse its arguments; a mistake in them ends in SystemExit(2)."""
    tool = ROOT / words[0]
    assert tool.is_file(), f'{words[0]} does not exist'
    monkeypatch.setattr(sys, 'argv', [str(tool), *words[1:]])
    monkeypatch.setattr(sys, 'path', [str(tool.parent), *sys.path])
    return runpy.run_path(str(tool), run_name='documented')['parse_args']()


def check_config(path: str, options: dict | None) -> None:
    """A config resolves with its overrides."""
    if path not in ('CONFIG', 'my_config.py'):
        assert load_config(str(ROOT / path), None, options, 'none').model


def check_tool(words: list[str], monkeypatch) -> None:
    args = parse(words, monkeypatch)
    if words[0] in TRAINING_TOOLS:
        check_config(args.config, args.cfg_options)
    for word in words[1:]:
        if word.startswith(('configs/', 'tools/')):
            assert (ROOT / word).exists(), f'{word} does not exist'


def through_script(words: list[str], environment: dict, tmp_path: Path) -> list[str]:
    """What a shell script of ours starts, without starting it."""
    for program in ('python', 'srun'):
        stub = tmp_path / program
        stub.write_text(f'#!{sys.executable}\nimport json, sys\njson.dump(sys.argv[1:], open("words", "w"))\n')
        stub.chmod(0o755)
    path = f'{tmp_path}{os.pathsep}{environment["PATH"]}'
    subprocess.run(['bash', ROOT / words[0], *words[1:]], cwd=tmp_path, env=dict(environment, PATH=path), check=True)
    started = json.loads((tmp_path / 'words').read_text())
    first = next(i for i, word in enumerate(started) if word.endswith('.py') and '/tools/' in word)
    return [str(Path(started[first]).relative_to(ROOT)), *started[first + 1 :]]


@pytest.mark.parametrize('command', COMMANDS)
def test_command(command, monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    assignments, rest = re.fullmatch(r'((?:\w+=\S+ )*)(.*)', command).groups()
    environment = dict(os.environ, **dict(word.split('=', 1) for word in shlex.split(assignments)))
    words = expand(rest.replace('/usr/bin/time -v ', ''), environment)
    if words[:3] == ['python', '-m', 'pytest']:
        paths = [word for word in words[3:] if word.startswith('tests')]
        markers = [words[i + 1] for i, word in enumerate(words) if word == '-m' and i > 1]
        assert all((ROOT / path).exists() for path in paths) and set(markers) <= {'slow', 'slow or not slow'}
    elif words[0] == 'python' and words[1].endswith('kill_and_resume.py'):
        done = subprocess.run([sys.executable, words[1], '--help'], capture_output=True, text=True, check=True)
        assert all(word in done.stdout for word in words if word.startswith('--'))
        check_config(words[2], None)
    elif words[0] == 'python':
        check_tool(words[1:], monkeypatch)
    elif words[0].endswith('.sh'):
        check_tool(through_script(words, environment, tmp_path), monkeypatch)
    elif words[:2] == ['pip', 'install']:
        setup = (ROOT / 'setup.py').read_text()
        for extra in re.findall(r'\.\[(\w+)\]', command):
            assert f"'{extra}': " in setup, f'no extra {extra}'
    elif words[0] == 'sphinx-build':
        assert (ROOT / words[-2] / 'conf.py').is_file()
    elif words[0] == 'bash':
        assert (ROOT / words[1]).is_file()
    elif words[0] == 'mim':
        assert words[1:3] in (['train', 'mmcgc'], ['test', 'mmcgc'])
        assert [path for path in ROOT.glob(f'configs/**/{words[3]}*') if path.suffix == '.py'] or words[3] == 'CONFIG'
    else:
        pytest.fail(f'no test knows how to try {command!r}')


def test_there_are_commands():
    assert len(COMMANDS) > 30


@pytest.mark.parametrize('page', PAGES)
def test_no_block_escapes_the_tests(page):
    fences = re.findall(r'^ *```(.*)$', PAGES[page], re.MULTILINE)
    assert set(fences[::2]) <= {'shell', 'python', 'text', 'bibtex', '{eval-rst}'} and set(fences[1::2]) <= {''}


@pytest.mark.parametrize('page', PAGES)
def test_what_the_text_names_exists(page):
    """Files within `commands in a sentence`, and the options of their tools."""
    for span in re.findall(r'`([^`\n]+)`', re.sub(r'^```.*?^```$', '', PAGES[page], flags=re.MULTILINE | re.DOTALL)):
        for path in re.findall(r'(?<![\w/.<])(?:tools|tests|configs|mmcgc|\.ci)/[\w./*-]*[\w*]', span):
            if not path.startswith('mmcgc/.mim'):  # made when the wheel is built
                assert list(ROOT.glob(path)), f'{path} does not exist'
            tool = ROOT / path
            if path.startswith('tools/') and tool.suffix == '.py' and tool.is_file():
                for option in re.findall(r'(?<= )--[\w-]+', span):
                    assert f"'{option}'" in tool.read_text(encoding='utf-8'), f'{path} has no {option}'


def is_config(block: str) -> bool:
    return block.startswith('_base_')


@pytest.mark.parametrize('page', [page for page in GUIDES if any(is_config(b) for b in blocks(page, 'python'))])
def test_configs_build(page, tmp_path):
    for number, block in enumerate(filter(is_config, blocks(page, 'python'))):
        path = tmp_path / f'config{number}.py'
        path.write_text(block.replace("'../configs/", f"'{ROOT}/configs/"), encoding='utf-8')
        config = Config.fromfile(path)
        with MODELS.switch_scope_and_registry(config.default_scope) as registry:
            model = registry.build(config.model)
            hooks = [*config.get('custom_hooks', []), config.get('default_hooks', {}).get('checkpoint')]
            with HOOKS.switch_scope_and_registry(config.default_scope) as hook_registry:
                assert all(hook_registry.build(hook) for hook in hooks if hook)
            with VISBACKENDS.switch_scope_and_registry(config.default_scope) as backend_registry:
                for backend in config.get('visualizer', {}).get('vis_backends', []):
                    assert backend_registry.build(dict(backend, save_dir=str(tmp_path)))
        gated = [name for name, module in model.named_modules() if type(module).__name__ == 'ContextGate']
        assert gated or 'conv_cfg' not in block


def long(page: str):
    return pytest.param(page, marks=[pytest.mark.slow] if page == 'docs/export.md' else [])


@pytest.mark.parametrize('page', [long(p) for p in GUIDES if any(not is_config(b) for b in blocks(p, 'python'))])
def test_python_runs(page, tmp_path, monkeypatch):
    """The blocks of a page, one after the other, in one namespace."""
    if 'onnxruntime' in PAGES[page]:
        onnx_runtime()
    monkeypatch.chdir(tmp_path)
    registered = {registry: dict(registry.module_dict) for registry in (MODELS, *MODELS.children.values())}
    names: dict = {'__name__': 'documented'}
    try:
        for block in blocks(page, 'python'):
            if not is_config(block):
                exec(compile(block, page, 'exec'), names)
    finally:
        for registry, modules in registered.items():
            registry._module_dict.clear()
            registry._module_dict.update(modules)


@pytest.mark.parametrize('page', PAGES)
def test_links_lead_somewhere(page):
    for target in re.findall(r'\]\((?!\w+:)([^)\s]+)\)', PAGES[page]):
        file, _, anchor = target.partition('#')
        path = (ROOT / page).parent / file if file else ROOT / page
        assert path.exists(), f'{target} does not exist'
        if anchor:
            headings = re.findall(r'^#+ (.*)$', path.read_text(encoding='utf-8'), re.MULTILINE)
            slugs = {re.sub(r'[^\w\- ]', '', heading).strip().lower().replace(' ', '-') for heading in headings}
            assert anchor in slugs, f'{file} has no heading for #{anchor}'


def test_the_index_names_every_page():
    index = PAGES['docs/README.md']
    names = [Path(page).name for page in GUIDES]
    assert len(names) > 8 and [name for name in names if name != 'README.md' and f'({name})' not in index] == []


def templates() -> list[str]:
    """Every text in the sources, with … for what is filled in; parts of a text are one, as Python joins them."""
    found = []
    for path in ROOT.glob('mmcgc/**/*.py'):
        for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
            if isinstance(node, ast.JoinedStr):
                found.append(''.join(part.value if isinstance(part, ast.Constant) else '…' for part in node.values))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return found


HEADINGS = re.findall(r'^### (`.*`)$', PAGES.get('docs/troubleshooting.md', ''), re.MULTILINE)
MESSAGES = [message for heading in HEADINGS for message in re.findall('`([^`]*)`', heading)]


@pytest.fixture(scope='module')
def texts() -> list[str]:
    return templates()


@pytest.mark.parametrize('message', MESSAGES)
def test_message_is_one_of_ours(message, texts):
    parts = [re.escape(part) for part in message.split('…')]
    pattern = re.compile('.*'.join(parts), re.DOTALL)
    assert any(pattern.search(text) for text in texts), f'no source says {message!r}'


@pytest.mark.parametrize('picture', sorted(ROOT.glob('docs/images/*.svg')), ids=lambda path: path.name)
def test_drawings_are_well_formed(picture):
    root = xml.etree.ElementTree.parse(picture).getroot()
    assert root.tag.endswith('svg') and root.get('viewBox')


@pytest.mark.slow
def test_the_quick_start_learns(tmp_path):
    """The README's training command, as it stands there, to the accuracy that a newcomer will look for."""
    command = next(part for part in commands('README.md') if part.startswith('python tools/train.py configs/quick'))
    done = subprocess.run(
        [sys.executable, *command.split()[1:], '--work-dir', tmp_path], cwd=ROOT, text=True, capture_output=True
    )
    accuracies = re.findall(r'accuracy/top1: ([\d.]+)', done.stdout + done.stderr)
    assert done.returncode == 0 and float(accuracies[-1]) > 95
