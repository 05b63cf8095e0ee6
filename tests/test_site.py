"""The documentation site builds without a warning, no link or picture is missing, and nothing comes from elsewhere."""

import re
import subprocess
import sys
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from helpers import ROOT

pytestmark = pytest.mark.slow


class Page(HTMLParser):
    """What a page can be jumped to at, links to, and loads."""

    def __init__(self, path: Path):
        super().__init__()
        self.anchors, self.links, self.loads = set(), [], []
        self.feed(path.read_text(encoding='utf-8'))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.anchors.add(values.get('id'))
        if tag == 'a' and values.get('href'):
            self.links.append(values['href'])
        elif tag in ('img', 'script', 'link'):
            self.loads += [values[name] for name in ('src', 'href') if values.get(name)]


read = cache(Page)


@pytest.fixture(scope='module')
def site(tmp_path_factory) -> Path:
    pytest.importorskip('sphinx', reason="the site needs pip install -e '.[docs]'")
    folder = tmp_path_factory.mktemp('site')
    command = [sys.executable, '-m', 'sphinx', '-q', '-W', '--keep-going', 'docs', str(folder)]
    done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    return folder


def broken(page: Path, target: str) -> bool:
    """Whether a link within the site leads nowhere."""
    parts = urlsplit(target)
    if parts.scheme:
        return False
    path = (page.parent / unquote(parts.path)).resolve() if parts.path else page
    if not path.is_file():
        return True
    return bool(parts.fragment) and path.suffix == '.html' and unquote(parts.fragment) not in read(path).anchors


def test_every_link_leads_somewhere(site):
    pages = sorted(site.rglob('*.html'))
    links = {(page, target) for page in pages for target in [*read(page).links, *read(page).loads]}
    assert len(pages) > 40 and len(links) > 2000
    assert [f'{page.relative_to(site)}: {target}' for page, target in sorted(links) if broken(page, target)] == []


def test_a_broken_link_would_be_noticed(site):
    page = site / 'README.html'
    assert broken(page, 'nowhere.html') and broken(page, 'README.html#nowhere') and not broken(page, '#tools')


def test_nothing_is_loaded_from_elsewhere(site):
    loads = {target for page in site.rglob('*.html') for target in read(page).loads}
    for sheet in site.rglob('*.css'):
        loads |= set(re.findall(r'url\(["\']?(\w+:[^)]+)', sheet.read_text(encoding='utf-8')))
    assert loads and [target for target in loads if urlsplit(target).scheme not in ('', 'data')] == []


def test_every_page_of_the_repository_is_there(site):
    pages = [*ROOT.glob('*.md'), *ROOT.glob('docs/**/*.md'), *ROOT.glob('configs/**/*.md')]
    built = {path.relative_to(site).with_suffix('.md') for path in site.rglob('*.html')}
    assert len(pages) > 30 and [page for page in pages if page.relative_to(ROOT) not in built] == []
