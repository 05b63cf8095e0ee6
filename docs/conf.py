"""The documentation site: every page of the repository, where it lies, and the API pages from the docstrings.

The pages link to each other as they do in the repository, so the source of the site is the whole repository, not this
folder alone.
"""

import os
import re
from pathlib import Path

from mmcgc import __version__
from mmcgc.utils import register_all_modules

ROOT = Path(__file__).resolve().parent.parent
GUIDES = (
    'how-it-works',
    'your-model',
    'neighbours',
    'new-variant',
    'export',
    'backends',
    'performance',
    'performance-tables',
)
RUNS = ('data', 'reproduce', 'compare', 'runs/README', 'interruptions', 'gallery', 'troubleshooting')
API = ('layers', 'operators', 'models', 'translation', 'datasets', 'training', 'metrics', 'tools', 'analysis', 'names')

project, author, release = 'mmcgc', 'The mmcgc authors', __version__
copyright = author
extensions = ['myst_parser', 'sphinx.ext.autodoc', 'sphinx.ext.napoleon', 'sphinx_copybutton']
root_doc = 'README'
include_patterns = ['*.md', 'docs/**.md', 'configs/**README.md']
exclude_patterns = ['site', 'build', 'data', 'work_dirs', '**/.*']

html_theme = 'furo'
html_title = f'mmcgc {release}'
html_extra_path = ['_extra']  # sends index.html to the start page
html_theme_options = dict(sidebar_hide_name=False)
html_copy_source = False
copybutton_prompt_text = r'>>> |\.\.\. '
copybutton_prompt_is_regexp = True

myst_heading_anchors = 4
nitpicky = True
# Names of other libraries lead nowhere on a site that is offline, nor does a type variable anywhere.
nitpick_ignore_regex = [('py:.*', r'(?!mmcgc\.).*'), ('py:class', r'mmcgc\.layers\.convert\.Network')]
autodoc_typehints = 'signature'
autodoc_member_order = 'bysource'
python_display_short_literal_types = True
napoleon_use_rtype = False


def contents(folder: str, names: tuple[str, ...], caption: str) -> str:
    """A hidden table of contents, from which the sidebar is made."""
    pages = '\n'.join(f'{folder}{name}' for name in names)
    return f'\n```{{toctree}}\n:hidden:\n:caption: {caption}\n{pages}\n```\n'


def config_pages() -> tuple[str, ...]:
    folders = sorted(path.parent.relative_to(ROOT).as_posix() for path in ROOT.glob('configs/*/**/README.md'))
    return tuple(f'{folder}/README' for folder in folders)


def prepare_page(app, docname: str, source: list[str]) -> None:
    """Give the start page its contents, and let a link to a folder lead to the README in it."""
    here = (ROOT / docname).parent

    def lead(match: re.Match) -> str:
        page = here / match[1] / 'README.md'
        return f']({os.path.relpath(page, here)})' if page.is_file() else match[0]

    source[0] = re.sub(r'\]\(((?!\w+:)[^)#\s]+)\)', lead, source[0])
    if docname == root_doc:
        source[0] += contents('docs/', GUIDES, 'The layer')
        source[0] += contents('docs/', RUNS, 'Trainings')
        source[0] += contents('docs/api/', ('README', *API), 'API')
        source[0] += contents('', ('configs/README', *config_pages()), 'Configs')
        source[0] += contents('', ('docs/README', 'CONTRIBUTING', 'SECURITY', 'CHANGELOG'), 'Project')


def escape_stars(app, what: str, name: str, obj, options, lines: list[str]) -> None:
    """Shapes such as (B, C, *S) are no emphasis; within backquotes and in blocks a star is one already."""
    literal = False
    for number, line in enumerate(lines):
        if line.strip() and not line.startswith(' ' * literal):
            literal = False
        if not literal:
            parts = re.split(r'(``.*?``)', line)
            parts[::2] = [re.sub(r'(?<![\\\w])(\*+)(?=\w)', lambda stars: r'\*' * len(stars[1]), p) for p in parts[::2]]
            lines[number] = ''.join(parts)
            if line.endswith('::'):
                literal = len(line) - len(line.lstrip()) + 1


def find_entry(app, env, node, contnode):
    """A reference by an object's bare name, or by the module where it is written, leads to its entry."""
    module, _, name = node['reftarget'].rpartition('.')
    domain = env.get_domain('py')
    entries = [key for key, entry in domain.objects.items() if key.rpartition('.')[2] == name and not entry.aliased]
    if node.get('refdomain') != 'py' or len(entries) != 1 or not f'{module}.'.startswith(('.', 'mmcgc.')):
        return None
    return domain.resolve_xref(env, node['refdoc'], app.builder, 'obj', entries[0], node, contnode)


def setup(app) -> None:
    app.srcdir = ROOT
    register_all_modules(init_default_scope=False)
    app.connect('missing-reference', find_entry)
    app.connect('source-read', prepare_page)
    app.connect('autodoc-process-docstring', escape_stars, priority=400)  # before napoleon
