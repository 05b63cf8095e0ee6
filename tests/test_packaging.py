"""The wheel, the requirements, the metadata and the model index hold what an installation needs and no more."""

import email.parser
import os
import re
import shutil
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from helpers import ROOT
from packaging.requirements import Requirement

import mmcgc

SHIPPED = ('configs', 'tools')
IGNORED = shutil.ignore_patterns('__pycache__', '*.pyc')
METAFILES = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob('configs/**/metafile.yml'))


def setup_py(tree: Path, *arguments: str) -> None:
    done = subprocess.run([sys.executable, 'setup.py', '-q', *arguments], cwd=tree, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def wheel_names(tree: Path) -> set[str]:
    with zipfile.ZipFile(next(tree.glob('dist/*.whl'))) as wheel:
        return set(wheel.namelist())


def metadata(tree: Path) -> email.message.Message:
    with zipfile.ZipFile(next(tree.glob('dist/*.whl'))) as wheel:
        name = next(name for name in wheel.namelist() if name.endswith('.dist-info/METADATA'))
        return email.parser.Parser().parsestr(wheel.read(name).decode())


@pytest.fixture(scope='module')
def tree(tmp_path_factory) -> Path:
    """A copy of the repository with its wheel and its sdist in dist/."""
    copy = tmp_path_factory.mktemp('tree')
    for folder in ('mmcgc', 'tests', *SHIPPED):
        shutil.copytree(ROOT / folder, copy / folder, ignore=IGNORED)
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy(path, copy)
    setup_py(copy, 'bdist_wheel')
    setup_py(copy, 'sdist')
    return copy


class TestWheel:
    def test_carries_what_mim_needs_and_no_more(self, tree):
        shipped = {
            path.relative_to(tree).as_posix()
            for folder in SHIPPED
            for path in (tree / folder).rglob('*')
            if path.is_file()
        }
        names = wheel_names(tree)
        assert {name for name in names if '/.mim/' in name} == {
            f'mmcgc/.mim/{name}' for name in shipped | {'model-index.yml'}
        }
        assert {name.split('/')[0] for name in names if '.dist-info/' not in name} == {'mmcgc'}

    def test_holds_every_module(self, tree):
        modules = {path.relative_to(tree).as_posix() for path in (tree / 'mmcgc').rglob('*') if path.is_file()}
        assert modules <= wheel_names(tree)

    def test_leaves_the_source_tree_alone(self, tree):
        assert not (tree / 'mmcgc/.mim').exists()

    def test_keeps_scripts_executable(self, tree):
        with zipfile.ZipFile(next(tree.glob('dist/*.whl'))) as wheel:
            modes = {info.filename: info.external_attr >> 16 for info in wheel.infolist()}
        scripts = [path.relative_to(tree).as_posix() for path in (tree / 'tools').rglob('*.sh')]
        assert scripts
        assert [script for script in scripts if not modes[f'mmcgc/.mim/{script}'] & stat.S_IXUSR] == []

    def test_is_the_same_from_the_sdist(self, tree, tmp_path):
        shutil.unpack_archive(next(tree.glob('dist/*.tar.gz')), tmp_path)
        unpacked = next(tmp_path.iterdir())
        setup_py(unpacked, 'bdist_wheel')
        assert wheel_names(unpacked) == wheel_names(tree)

    def test_version_and_configs_are_those_of_the_sources(self, tree, tmp_path):
        """Built over an older build folder: the version comes from its one place, a deleted config is gone."""
        changed = shutil.copytree(tree, tmp_path / 'tree', ignore=shutil.ignore_patterns('dist'))
        gone = next(path for path in sorted((changed / 'configs').rglob('*.py')) if '_base_' not in path.parts)
        gone.unlink()
        (changed / 'mmcgc/version.py').write_text("__version__ = '12.3.4'\n", encoding='utf-8')
        setup_py(changed, 'bdist_wheel')
        assert metadata(tree)['Version'] == mmcgc.__version__
        assert metadata(changed)['Version'] == '12.3.4'
        assert f'mmcgc/.mim/{gone.relative_to(changed).as_posix()}' not in wheel_names(changed)


class TestInstalled:
    """From the wheel, in a folder of its own, far from the sources: what mim does with it."""

    @pytest.fixture(scope='class')
    def site(self, tree, tmp_path_factory) -> Path:
        folder = tmp_path_factory.mktemp('site')
        subprocess.run(
            [
                sys.executable,
                '-m',
                'pip',
                'install',
                '-q',
                '--no-deps',
                '--no-index',
                '--target',
                folder,
                next(tree.glob('dist/*.whl')),
            ],
            check=True,
            capture_output=True,
        )
        return folder

    def run(self, site: Path, *command, cwd: Path) -> str:
        environment = dict(os.environ, PYTHONPATH=str(site), CUDA_VISIBLE_DEVICES='-1', OMP_NUM_THREADS='1')
        done = subprocess.run(
            [sys.executable, *map(str, command)], cwd=cwd, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return done.stdout + done.stderr

    def test_is_what_is_imported(self, site, tmp_path):
        out = self.run(site, '-c', 'import mmcgc; print(mmcgc.__file__, mmcgc.__version__)', cwd=tmp_path)
        assert out.split()[-2:] == [str(site / 'mmcgc/__init__.py'), mmcgc.__version__]

    def test_trains_with_its_own_tools_and_configs(self, site, tmp_path):
        mim = site / 'mmcgc/.mim'
        out = self.run(
            site,
            mim / 'tools/train.py',
            mim / 'configs/quickstart/cgc-resnet20_1xb32-10e_digits.py',
            '--launcher',
            'none',
            '--work-dir',
            tmp_path / 'run',
            '--cfg-options',
            'train_cfg.max_epochs=1',
            'train_dataloader.dataset.indices=32',
            'val_dataloader.dataset.indices=16',
            'model.backbone.depth=8',
            cwd=tmp_path,
        )
        assert 'accuracy/top1' in out and (tmp_path / 'run/epoch_1.pth').is_file()

    def test_its_configs_are_found_by_name(self, site, tmp_path):
        (tmp_path / 'own.py').write_text("_base_ = 'mmcgc::quickstart/cgc-resnet20_1xb32-10e_digits.py'\n")
        code = (
            'import mmcgc, mmengine\n'
            'from mmengine import hub\n'
            "print(mmengine.Config.fromfile('own.py').model.backbone.depth)\n"
            "print(type(hub.get_model('mmcgc::quickstart/cgc-resnet20_1xb32-10e_digits.py')).__name__)\n"
        )
        assert self.run(site, '-c', code, cwd=tmp_path).splitlines()[:2] == ['20', 'ImageClassifier']


class TestRequirements:
    environments = {
        f'{python}-{machine}': dict(python_version=python, platform_machine=machine, sys_platform='linux', extra='')
        for python in ('3.10', '3.13')
        for machine in ('x86_64', 'aarch64')
    }

    @pytest.fixture(scope='class')
    def required(self, tree) -> list[Requirement]:
        return [Requirement(line) for line in metadata(tree).get_all('Requires-Dist')]

    @pytest.fixture(scope='class')
    def lock(self) -> list[Requirement]:
        lines = (ROOT / 'requirements.txt').read_text(encoding='utf-8').splitlines()
        lines = [line for line in lines if line and not line.startswith('#')]
        assert lines[-1] == '-e .[video]'
        return [Requirement(line) for line in lines[:-1]]

    @pytest.mark.parametrize('environment', environments.values(), ids=environments)
    def test_lock_satisfies_the_ranges(self, required, lock, environment):
        def applies(requirement, extra=''):
            return requirement.marker is None or requirement.marker.evaluate(dict(environment, extra=extra))

        pins = {requirement.name: requirement.specifier for requirement in lock if applies(requirement)}
        wanted = [requirement for requirement in required if applies(requirement) or applies(requirement, 'video')]
        assert {'torch', 'torchvision', 'mmengine', 'mmpretrain'} <= {requirement.name for requirement in wanted}
        for requirement in wanted:
            if requirement.name == 'setuptools':
                assert pins['setuptools'] == requirement.specifier
            elif requirement.name != 'safetensors':  # any version reads the format
                (pin,) = pins[requirement.name]
                assert pin.operator == '==' and requirement.specifier.contains(pin.version), requirement

    def test_the_base_is_light(self, required):
        base = {requirement.name for requirement in required if 'extra' not in str(requirement.marker)}
        assert base == {'mmengine', 'numpy', 'setuptools', 'torch'}

    def test_all_holds_every_part(self, required):
        def of(*extras):
            return {
                str(r).split(';')[0]
                for r in required
                for extra in extras
                if r.marker and r.marker.evaluate(dict(self.environments['3.13-x86_64'], extra=extra))
            }

        assert of('all') == of('image', 'video', 'analysis', 'text', 'export') <= of('tests')

    def test_no_extra_brings_a_full_mmcv(self, required, lock):
        assert 'mmcv' not in {requirement.name for requirement in required + lock}

    def test_one_opencv(self, required, lock):
        """All OpenCV packages fill one folder: lock and extras hold both to one version."""
        found = {(r.name, str(r.specifier)) for r in required + lock if 'opencv' in r.name}
        assert {name for name, _ in found} == {'opencv-python', 'opencv-contrib-python'}
        assert len({specifier for _, specifier in found}) == 1 and next(iter(found))[1].startswith('==')

    def test_extras(self, tree):
        assert set(metadata(tree).get_all('Provides-Extra')) == {
            'image',
            'video',
            'analysis',
            'text',
            'export',
            'all',
            'tests',
            'docs',
            'dev',
        }


class TestMetadata:
    def test_says_what_an_index_page_shows(self, tree):
        found = metadata(tree)
        assert found['Author'] and found['Keywords'] and found.get_all('Classifier')
        assert 'Apache-2.0' in (found['License-Expression'], found['License'])

    def test_links_of_the_description_hold_anywhere(self, tree):
        text = metadata(tree).get_payload()
        links = re.findall(r'\]\(([^)]+)\)', text)
        assert links and [link for link in links if not link.startswith('https://')] == []
        assert 'All pages: docs.' in text

    def test_the_citation_has_the_version(self):
        citation = yaml.safe_load((ROOT / 'CITATION.cff').read_text(encoding='utf-8'))
        assert citation['version'] == mmcgc.__version__
        assert citation['preferred-citation']['title'] == 'Context-Gated Convolution'


class TestModelIndex:
    imported = yaml.safe_load((ROOT / 'model-index.yml').read_text(encoding='utf-8'))['Import']

    def test_imports_every_metafile_once(self):
        assert sorted(self.imported) == METAFILES

    @pytest.mark.parametrize('path', METAFILES)
    def test_metafile_names_what_exists(self, path):
        metafile = yaml.safe_load((ROOT / path).read_text(encoding='utf-8'))
        collections = {collection['Name']: collection for collection in metafile['Collections']}
        assert metafile['Models']
        for model in metafile['Models']:
            assert model['In Collection'] in collections
            assert (ROOT / model['Config']).is_file() and Path(model['Config']).stem == model['Name']
        for collection in collections.values():
            assert (ROOT / collection['README']).is_file() and collection['Metadata']['Task']
