"""A checkpoint is used with the vocabularies and merges that it was trained with, or not at all."""

import json
import re
import shutil
from types import SimpleNamespace

import pytest
import torch
from helpers import ROOT
from mmengine.runner.checkpoint import CheckpointLoader

from mmcgc.apis import launch
from mmcgc.apis.translate import Translator
from mmcgc.checkpoints.average import average_checkpoints
from mmcgc.datasets import ParallelText
from mmcgc.datasets.translation import NumberWords, SubwordCorpus
from mmcgc.datasets.translation.prepare import prepare_corpus
from mmcgc.engine.vocabulary_match import VocabularyMatchHook, check_fingerprints

CONFIG = """
_base_ = '{root}/configs/translation/multi30k/cgc-lightconv_1xt4k-1k_multi30k-de-en.py'
corpus = dict(folder='{folder}')
sizes = dict(channels=8, hidden=8, heads=2, kernel_sizes=[3])
model = dict(source_vocabulary={size}, target_vocabulary={size}, search=dict(beam=1), encoder=sizes, decoder=sizes)
train_dataloader = dict(dataset=dict(corpus=corpus), batch_sampler=dict(max_tokens=150))
val_dataloader = dict(dataset=dict(corpus=corpus))
test_dataloader = dict(dataset=dict(corpus=corpus))
train_cfg = dict(max_iters=2, val_interval=10)
default_hooks = dict(checkpoint=dict(interval=2, save_best=None))
custom_hooks = [dict(type='mmcgc.ResumeBatchesHook')]
"""


@pytest.fixture(scope='module')
def other_folder(raw, tmp_path_factory):
    """The same text, with fewer merges."""
    return prepare_corpus(raw, tmp_path_factory.mktemp('other') / 'tiny', merges=30)


@pytest.fixture(scope='module')
def configs(corpus_folder, other_folder, tmp_path_factory):
    """Of two corpora, for models of the same shapes."""
    folder = tmp_path_factory.mktemp('match')
    for name, corpus in dict(ours=corpus_folder, other=other_folder).items():
        (folder / f'{name}.py').write_text(CONFIG.format(root=ROOT, folder=corpus, size=96))
    return SimpleNamespace(ours=folder / 'ours.py', other=folder / 'other.py')


@pytest.fixture(scope='module')
def work_dir(configs, run_tool, tmp_path_factory):
    work_dir = tmp_path_factory.mktemp('work')
    run_tool('train.py', configs.ours, '--work-dir', work_dir)
    return work_dir


@pytest.fixture(scope='module')
def checkpoint(work_dir):
    return work_dir / 'iter_2.pth'


@pytest.fixture
def bare(checkpoint, tmp_path):
    """The weights alone, as an older release or another program left them."""
    state = CheckpointLoader.load_checkpoint(str(checkpoint), map_location='cpu')['state_dict']
    torch.save(dict(state_dict=dict(state)), tmp_path / 'bare.pth')
    return tmp_path / 'bare.pth'


@pytest.fixture
def said(monkeypatch):
    """The warnings of the match."""
    texts = []
    monkeypatch.setattr('mmcgc.engine.vocabulary_match.print_log', lambda text, *_: texts.append(text))
    return texts


DIFFER = r'was trained on another corpus \(differing in merges, source vocabulary, target vocabulary\)'


def test_translating_and_testing_refuse_another_corpus(configs, checkpoint, tmp_path, own_scope):
    Translator(str(configs.ours), str(checkpoint))
    with pytest.raises(ValueError, match=DIFFER):
        Translator(str(configs.other), str(checkpoint))
    with pytest.raises(ValueError, match=DIFFER):
        launch.test(str(configs.other), str(checkpoint), work_dir=str(tmp_path))


def test_resuming_refuses_another_corpus(configs, work_dir, tmp_path, own_scope):
    copy = shutil.copytree(work_dir, tmp_path / 'copy')
    with pytest.raises(ValueError, match=DIFFER):
        launch.train(
            str(configs.other),
            work_dir=str(copy),
            resume=str(copy / 'iter_2.pth'),
            cfg_options={'train_cfg.max_iters': 4},
        )
    launch.train(
        str(configs.ours), work_dir=str(copy), resume=str(copy / 'iter_2.pth'), cfg_options={'train_cfg.max_iters': 4}
    )
    assert (copy / 'iter_4.pth').exists()


def test_fine_tuning_on_another_corpus_is_warned_of(configs, checkpoint, tmp_path, own_scope, said):
    launch.train(str(configs.other), work_dir=str(tmp_path), cfg_options=dict(load_from=str(checkpoint)))
    assert re.search(DIFFER, ''.join(said)) and (tmp_path / 'iter_2.pth').exists()


def test_an_average_belongs_to_the_corpus_too(configs, checkpoint, tmp_path):
    average_checkpoints([checkpoint, checkpoint], tmp_path / 'average.pth')
    Translator(str(configs.ours), str(tmp_path / 'average.pth'))
    with pytest.raises(ValueError, match=DIFFER):
        Translator(str(configs.other), str(tmp_path / 'average.pth'))


def test_a_checkpoint_that_does_not_say_is_warned_of(configs, bare, said):
    Translator(str(configs.other), str(bare))
    assert len(said) == 1 and said[0].startswith(f'{bare} does not say with which vocabularies it was trained')


@pytest.mark.parametrize('meta', [None, {}, [], dict(dataset_meta=None), dict(dataset_meta=dict(fingerprints='x'))])
def test_fields_of_another_kind_say_nothing(meta, said):
    check_fingerprints(meta, NumberWords().fingerprints(), 'a.pth')
    assert len(said) == 1 and said[0].startswith('a.pth does not say')


def test_each_part_is_named():
    ours = NumberWords().fingerprints()
    check_fingerprints(dict(dataset_meta=dict(fingerprints=ours)), ours, 'a.pth')
    with pytest.raises(ValueError, match=r'a.pth was trained on another corpus \(differing in target vocabulary\)'):
        check_fingerprints(dict(dataset_meta=dict(fingerprints={**ours, 'target_vocabulary': ''})), ours, 'a.pth')


def test_training_and_validation_share_a_vocabulary(configs, other_folder, tmp_path, own_scope):
    with pytest.raises(ValueError, match='training and the validation data have different vocabularies'):
        launch.train(
            str(configs.ours),
            work_dir=str(tmp_path),
            cfg_options={'val_dataloader.dataset.corpus.folder': str(other_folder)},
        )


def test_a_runner_of_images_is_left_alone():
    runner = SimpleNamespace(_train_loop=None, _val_loop=dict(), _test_loop=None)
    hook = VocabularyMatchHook(exact=True)
    hook.after_load_checkpoint(runner, {})
    hook.before_train(runner)


class TestCorpus:
    @pytest.fixture
    def folder(self, corpus_folder, tmp_path):
        return shutil.copytree(corpus_folder, tmp_path / 'corpus')

    @pytest.mark.parametrize('name', ['vocab.de', 'vocab.en', 'bpe.codes', 'test.de', 'test.en', 'test.detok.en'])
    def test_a_file_of_another_corpus_is_refused(self, folder, other_folder, name):
        lines = (other_folder / name).read_bytes().split(b'\n')
        (folder / name).write_bytes(b'\n'.join([lines[1], lines[0], *lines[2:]]))
        with pytest.raises(ValueError, match=f'{name} is not the file that the corpus was made with'):
            corpus = SubwordCorpus(str(folder))
            corpus.read('test')
            corpus.encode('Hund')

    def test_a_corpus_without_sums_is_read(self, folder):
        settings = json.loads((folder / 'corpus.json').read_text())
        del settings['sha256']
        (folder / 'corpus.json').write_text(json.dumps(settings))
        assert len(SubwordCorpus(str(folder)).read('test')) == 20

    def test_capitals_in_a_lower_cased_vocabulary_are_refused(self, folder):
        path = folder / 'vocab.de'
        path.write_text(path.read_text() + 'Hund 1\n')
        with pytest.raises(ValueError, match='vocab.de holds .*Hund.* is to be lower-cased'):
            SubwordCorpus(str(folder))

    def test_the_order_of_the_tokens_and_the_merges_count(self, folder, corpus_folder, other_folder):
        ours = SubwordCorpus(str(corpus_folder)).fingerprints()
        assert ours == SubwordCorpus(str(folder)).fingerprints()
        other = SubwordCorpus(str(other_folder)).fingerprints()
        assert ours.keys() == other.keys() and all(ours[part] != other[part] for part in ours)
        config = dict(type='mmcgc.SubwordCorpus', folder=str(folder))
        assert ParallelText(config, 'test').metainfo['fingerprints'] == ours
