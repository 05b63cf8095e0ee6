"""From downloads to the corpus folder: the usual cleaning and splits, complete, checked, or not at all."""

import gzip
import hashlib
import json
import shutil

import pytest
from stand_ins import iwslt_folder, tar_folder

from mmcgc.datasets.translation import SubwordCorpus
from mmcgc.datasets.translation.prepare import prepare_corpus


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture
def iwslt(tmp_path):
    """A raw archive: 50 sentences, a few to be cleaned away, between the tags of talks."""
    return iwslt_folder(tmp_path / 'download' / 'de-en')


def test_the_raw_archive_gets_the_usual_cleaning_and_splits(iwslt, tmp_path, capsys):
    corpus = SubwordCorpus(prepare_corpus(iwslt, tmp_path / 'out', merges=100))
    train, valid, test = (corpus.read(split) for split in ('train', 'valid', 'test'))
    sources = [corpus.join(pair.source) for pair in train]
    numbers = [i for i in range(50) if i not in (3, 4, 5, 6)]
    kept = ['titel de', 'über de &amp; amp ; mehr', *(f'satz nummer {i} ist „ schön “ .' for i in numbers)]
    assert [corpus.join(pair.source) for pair in valid] == kept[22::23] and len(valid) == 2
    assert sources == [line for i, line in enumerate(kept, 1) if i % 23]
    assert corpus.join(train[2].target) == 'sentence number 0 isn &apos;t bad .'
    assert [pair.reference for pair in test] == [f"EN's {n}.{i}" for n in range(5) for i in (1, 2)]
    assert valid[0].reference == "Sentence number 24 isn't bad."
    assert 'train: 4 of 52 pairs left out' in capsys.readouterr().out


@pytest.mark.parametrize('form', ['w:gz', 'w:xz', 'w'])
def test_an_archive_gives_what_its_folder_gives(iwslt, tmp_path, form):
    path = tar_folder(tmp_path / 'de-en.tar', iwslt, 'de-en', form)
    prepare_corpus(path, tmp_path / 'a', merges=100)
    prepare_corpus(iwslt.parent, tmp_path / 'b', merges=100)
    assert contents(tmp_path / 'a') == contents(tmp_path / 'b')


def test_plain_pairs_may_have_other_names_and_be_gzipped(raw, tmp_path):
    folder = tmp_path / 'pairs'
    folder.mkdir()
    for old, new in dict(train='train', valid='val', test='test_2016_flickr').items():
        for language in ('de', 'en'):
            content = gzip.compress((raw / f'{old}.{language}').read_bytes())
            (folder / f'{new}.{language}.gz').write_bytes(content)
    prepare_corpus(folder, tmp_path / 'a', splits=('train', 'val', 'test_2016_flickr'), merges=30)
    prepare_corpus(raw, tmp_path / 'b', merges=30)
    assert contents(tmp_path / 'a') == contents(tmp_path / 'b')


def test_tokenised_text_keeps_its_tokens_and_merges(tmp_path):
    folder = tmp_path / 'tokenised'
    folder.mkdir()
    for split in ('train_part', 'valid', 'test'):
        (folder / f'{split}.de').write_text('ein hund &amp; z. b. „ da “\n' * 5)
        (folder / f'{split}.en').write_text('it &apos;s a dog , here\n' * 5)
    (folder / 'code').write_text('#version: 0.2\nu n\nun d</w>\n')
    corpus = SubwordCorpus(
        prepare_corpus(folder, tmp_path / 'out', tokenised=True, splits=('train_part', 'valid', 'test'))
    )
    pair = corpus.read('test')[0]
    assert pair.source[:4] == ['e@@', 'i@@', 'n', 'h@@'] and 'und' in pair.source
    assert corpus.join(pair.source) == 'ein hund &amp; z. b. „ da “'
    assert pair.reference == "it's a dog, here"
    assert corpus.settings['reference'] == 'detokenised'
    assert (tmp_path / 'out' / 'bpe.codes').read_text() == (folder / 'code').read_text()


def test_merges_may_come_from_a_file(raw, tmp_path):
    codes = tmp_path / 'codes'
    codes.write_text('#version: 0.2\nH u\nHu n\n')
    prepare_corpus(raw, tmp_path / 'out', codes=codes)
    assert (tmp_path / 'out' / 'bpe.codes').read_text() == codes.read_text()


def test_every_token_of_the_training_text_is_in_the_vocabulary(corpus_folder):
    corpus = SubwordCorpus(str(corpus_folder))
    for pair in corpus.read('train'):
        assert corpus.source_vocabulary.decode(corpus.source_vocabulary.encode(pair.source)) == pair.source
        assert corpus.target_vocabulary.decode(corpus.target_vocabulary.encode(pair.target)) == pair.target


def test_a_second_run_writes_the_same(raw, corpus_folder, tmp_path):
    out = shutil.copytree(corpus_folder, tmp_path / 'out')
    (out / 'test.de').write_text('old')
    prepare_corpus(raw, out, merges=40)
    assert contents(out) == contents(corpus_folder)
    assert sorted(path.name for path in tmp_path.iterdir()) == ['out']


def test_a_failed_run_leaves_the_old_corpus(raw, corpus_folder, tmp_path):
    out = shutil.copytree(corpus_folder, tmp_path / 'out')
    broken = shutil.copytree(raw, tmp_path / 'broken')
    (broken / 'test.en').write_text('one line\n')
    with pytest.raises(ValueError, match='not parallel'):
        prepare_corpus(broken, out)
    assert contents(out) == contents(corpus_folder)
    with pytest.raises(ValueError, match='not parallel'):
        prepare_corpus(broken, tmp_path / 'new')
    assert not (tmp_path / 'new').exists() and not list(tmp_path.glob('.*'))


@pytest.mark.parametrize('split', ['train', 'valid', 'test'])
def test_unequal_numbers_of_lines_are_named(raw, tmp_path, split):
    broken = shutil.copytree(raw, tmp_path / 'broken')
    path = broken / f'{split}.en'
    path.write_text(''.join(path.read_text().splitlines(True)[:-3]))
    count = 197 if split == 'train' else 17
    with pytest.raises(ValueError, match=rf'{split}.de has {count + 3} lines, .*{split}.en has {count} lines'):
        prepare_corpus(broken, tmp_path / 'out')


@pytest.mark.parametrize(
    'name, kind', [('train.tags.de-en.en', 'sentences'), ('IWSLT14.TED.tst2011.de-en.de.xml', 'segments')]
)
def test_a_truncated_file_of_the_archive_is_named(iwslt, tmp_path, name, kind):
    content = (iwslt / name).read_text()
    (iwslt / name).write_text(content[: len(content) * 3 // 4])
    with pytest.raises(ValueError, match=f'not parallel: .*{kind} in'):
        prepare_corpus(iwslt, tmp_path / 'out')


@pytest.mark.parametrize('kept', [0.1, 0.9, 0.999])
@pytest.mark.parametrize('form', ['gz', 'xz'])
def test_a_truncated_archive_is_named(iwslt, tmp_path, form, kept):
    path = tar_folder(tmp_path / f'de-en.{form}', iwslt, 'de-en', f'w:{form}')
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(ValueError, match=rf'de-en.{form} is truncated'):
        prepare_corpus(path, tmp_path / 'out')


def test_a_truncated_gzip_file_is_named(raw, tmp_path):
    broken = shutil.copytree(raw, tmp_path / 'broken')
    content = gzip.compress((broken / 'train.de').read_bytes())
    (broken / 'train.de').unlink()
    (broken / 'train.de.gz').write_bytes(content[:-20])
    with pytest.raises(ValueError, match=r'train.de.gz is truncated'):
        prepare_corpus(broken, tmp_path / 'out')


def test_text_in_another_encoding_is_named(raw, tmp_path):
    broken = shutil.copytree(raw, tmp_path / 'broken')
    (broken / 'valid.de').write_bytes('schön\n'.encode('latin-1') * 20)
    with pytest.raises(ValueError, match='valid.de is not UTF-8 text: line 1 has the byte 0xf6'):
        prepare_corpus(broken, tmp_path / 'out')


def test_missing_files_are_named(raw, tmp_path):
    with pytest.raises(FileNotFoundError, match='nowhere does not exist'):
        prepare_corpus(tmp_path / 'nowhere', tmp_path / 'out')
    with pytest.raises(FileNotFoundError, match='has no file val.de'):
        prepare_corpus(raw, tmp_path / 'out', splits=('train', 'val', 'test'))


def test_a_raw_archive_is_not_taken_for_tokenised(iwslt, tmp_path):
    with pytest.raises(ValueError, match='leave --tokenised out'):
        prepare_corpus(iwslt, tmp_path / 'out', tokenised=True)


@pytest.mark.parametrize('where', ['.', 'below', '../source'])
def test_the_source_is_not_written_into(raw, tmp_path, where):
    source = shutil.copytree(raw, tmp_path / 'source')
    with pytest.raises(ValueError, match='source, which is read; give another place'):
        prepare_corpus(source, source / where, merges=30)
    assert contents(source) == contents(raw)


def test_files_that_are_no_corpus_are_not_replaced(raw, corpus_folder, tmp_path):
    archive = tar_folder(tmp_path / 'text.tar', raw, 'text', 'w')
    unpacked = shutil.copytree(raw, tmp_path / 'text')
    with pytest.raises(ValueError, match='text holds train.de, .*, which would be overwritten.*another --out'):
        prepare_corpus(archive, unpacked, merges=40)
    assert contents(unpacked) == contents(raw)
    (tmp_path / 'new').mkdir()
    (tmp_path / 'new' / 'readme.txt').write_text('mine')
    prepare_corpus(archive, tmp_path / 'new', merges=40)
    assert contents(tmp_path / 'new') == {**contents(corpus_folder), 'readme.txt': b'mine'}


@pytest.mark.parametrize('option', [dict(merges=0), dict(max_words=0), dict(max_ratio=float('nan'))], ids=str)
def test_limits_must_be_of_use(raw, tmp_path, option):
    name, value = option.popitem()
    with pytest.raises(ValueError, match=f'{name}={value}.*must be at least 1'):
        prepare_corpus(raw, tmp_path / 'out', **{name: value})


def test_splits_may_lie_in_folders_of_their_own(raw, corpus_folder, tmp_path):
    for path in raw.iterdir():
        place = tmp_path / 'multi30k' / path.stem / path.name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place)
    splits = ('train/train', 'valid/valid', 'test/test')
    prepare_corpus(tmp_path / 'multi30k', tmp_path / 'out', splits=splits, merges=40)
    assert contents(tmp_path / 'out') == contents(corpus_folder)
    with pytest.raises(FileNotFoundError, match='train has no file valid.de'):
        prepare_corpus(tmp_path / 'multi30k', tmp_path / 'out')


def test_nothing_left_to_train_on_is_named(raw, tmp_path):
    with pytest.raises(ValueError, match='no training pair is left'):
        prepare_corpus(raw, tmp_path / 'out', max_words=1)


def test_settings_say_what_was_done(corpus_folder):
    settings = json.loads((corpus_folder / 'corpus.json').read_text())
    sums = settings.pop('sha256')
    assert settings == dict(
        source='de', target='en', lowercase=True, reference='raw', lines=dict(train=200, valid=20, test=20)
    )
    assert sums == {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in corpus_folder.iterdir()
        if path.name != 'corpus.json'
    }
