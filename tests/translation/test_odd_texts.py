"""Odd texts are read right, refused with a remedy, or counted; none goes through in silence."""

import shutil

import pytest
import torch
from odd_texts import CODES, INPUTS, RIGHT, SOURCES, TEXT, TOKENISED, Counted, Refused, each_file, tokenised

from mmcgc.apis.translate import Translator
from mmcgc.datasets.translation import SubwordCorpus
from mmcgc.datasets.translation.prepare import prepare_corpus
from mmcgc.datasets.translation.subword import load_bpe
from mmcgc.plain_text import decode_lines
from mmcgc.registry import MODELS

NAMES = [f'{split}.{language}' for split in ('train', 'valid', 'test') for language in ('de', 'en')]


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def table(cases):
    return pytest.mark.parametrize('case', cases.values(), ids=[name.replace(' ', '-') for name in cases])


@pytest.fixture
def folder(raw, tmp_path):
    return shutil.copytree(raw, tmp_path / 'source')


@table(SOURCES)
def test_sources(case, folder, corpus_folder, tmp_path, capsys):
    alter, outcome = case
    source = alter(folder)
    if isinstance(outcome, Refused):
        with pytest.raises(ValueError, match=outcome.message):
            prepare_corpus(source, tmp_path / 'out', merges=40)
        assert not (tmp_path / 'out').exists()
        return
    prepare_corpus(source, tmp_path / 'out', merges=40)
    if isinstance(outcome, Counted):
        assert outcome.message in capsys.readouterr().out
    else:
        assert contents(tmp_path / 'out') == contents(corpus_folder)


@table(TOKENISED)
def test_tokenised_sources(case, folder, tmp_path):
    alter, outcome = case
    if isinstance(outcome, Refused):
        with pytest.raises(ValueError, match=outcome.message):
            prepare_corpus(alter(folder), tmp_path / 'out', merges=40, tokenised=True)
        return
    each_file(tokenised, *NAMES)(folder)
    expected = prepare_corpus(folder, tmp_path / 'expected', merges=40, tokenised=True)
    out = prepare_corpus(alter(folder), tmp_path / 'out', merges=40, tokenised=True)
    for split in ('train', 'valid', 'test'):
        ours, theirs = SubwordCorpus(out).read(split), SubwordCorpus(expected).read(split)
        assert [pair[:2] for pair in ours] == [pair[:2] for pair in theirs]


@table(CODES)
def test_codes(case, folder, tmp_path):
    content, outcome = case
    codes = tmp_path / 'codes'
    codes.write_bytes(content)
    if isinstance(outcome, Refused):
        with pytest.raises(ValueError, match=outcome.message):
            prepare_corpus(folder, tmp_path / 'out', codes=codes)
        assert not (tmp_path / 'out').exists()
        return
    corpus = SubwordCorpus(prepare_corpus(folder, tmp_path / 'out', codes=codes))
    assert corpus.encode('Hund Hunde läuft')[:5] == ['hund', 'hun@@', 'd@@', 'e', 'lä@@']
    kept = content.decode('utf-8-sig').replace('\r\n', '\n').rstrip('\n') + '\n'
    assert (tmp_path / 'out' / 'bpe.codes').read_bytes() == kept.encode()
    assert len(load_bpe(kept, 'codes').bpe_codes) == kept.count('\n') - 1


@pytest.fixture(scope='module')
def translator(tmp_path_factory, corpus_folder):
    """An untrained model, which translates as well as any where the same text must give the same."""
    folder = tmp_path_factory.mktemp('untrained')
    mixer = dict(type='mmcgc.ConvMixer', conv=dict(type='mmcgc.LightweightConv'))
    sizes = dict(mixer=mixer, channels=8, hidden=8, heads=2, kernel_sizes=[3])
    corpus = SubwordCorpus(str(corpus_folder))
    model = dict(
        type='mmcgc.TranslationModel',
        source_vocabulary=len(corpus.source_vocabulary),
        target_vocabulary=len(corpus.target_vocabulary),
        encoder=sizes,
        decoder=sizes,
        search=dict(beam=1),
    )
    data = dict(dataset=dict(corpus=dict(type='mmcgc.SubwordCorpus', folder=str(corpus_folder))))
    (folder / 'config.py').write_text(f'model = {model!r}\ntest_dataloader = {data!r}\n')
    torch.manual_seed(0)
    torch.save(dict(state_dict=MODELS.build(dict(model)).state_dict()), folder / 'weights.pth')
    return Translator(str(folder / 'config.py'), str(folder / 'weights.pth'), device='cpu')


@table(INPUTS)
def test_inputs(case, translator, tmp_path):
    content, outcome = case
    translator.counts.clear()
    path = tmp_path / 'input.de'
    path.write_bytes(content)
    with path.open('rb') as file:
        lines = decode_lines(file, str(path))
        if isinstance(outcome, Refused):
            with pytest.raises(ValueError, match=outcome.message):
                list(translator.translate(lines))
            return
        translations = list(translator.translate(lines))
    if outcome == RIGHT:
        assert translations == list(translator.translate(TEXT.splitlines())) and all(translations)
    else:
        assert outcome.message in translator.report()
