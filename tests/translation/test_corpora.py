"""Vocabularies, corpora and the data set: what is read is what was written, and what is broken is named."""

import json
import re
import shutil

import pytest
from mmengine.dataset import DefaultSampler, pseudo_collate
from mmengine.runner import Runner

from mmcgc.datasets import ParallelText
from mmcgc.datasets.translation import NumberWords, SubwordCorpus
from mmcgc.datasets.translation.number_words import numbers
from mmcgc.models.translation import BOS, EOS, PAD, UNK, Vocabulary
from mmcgc.models.translation.vocabulary import vocabulary_text


@pytest.fixture
def folder(corpus_folder, tmp_path):
    """A copy of the tiny corpus, to break."""
    return shutil.copytree(corpus_folder, tmp_path / 'corpus')


def config(folder):
    return dict(type='mmcgc.SubwordCorpus', folder=str(folder))


class TestVocabulary:
    def test_specials_come_first_and_the_size_is_a_multiple_of_eight(self):
        vocabulary = Vocabulary(['b', 'a', 'c'])
        assert vocabulary.encode(['<pad>', '<s>', '</s>', '<unk>']) == [PAD, BOS, EOS, UNK] == [0, 1, 2, 3]
        assert vocabulary.encode(['a', 'b', 'x']) == [5, 4, UNK]
        assert vocabulary.decode([BOS, 5, 4, UNK, EOS, PAD, 7]) == ['a', 'b']
        assert len(vocabulary) == 8 and len(Vocabulary('abcd')) == 8 and len(Vocabulary('abcde')) == 16

    def test_file_round_trip(self, tmp_path):
        path = tmp_path / 'vocab.en'
        text = vocabulary_text([['b', 'a', '<unk>'], ['b', 'ä@@', '\u2028x']])
        assert text == 'b 2\na 1\nä@@ 1\n\u2028x 1\n'
        path.write_bytes(text.encode())
        assert Vocabulary.load(path).tokens[4:] == ['b', 'a', 'ä@@', '\u2028x']

    @pytest.mark.parametrize(
        'content, message',
        [
            ('a 1\nb', 'breaks off in line 2'),
            ('a 1\nb\n', "line 2: expected 'token count', got 'b'"),
            ('a 1\n 3\n', 'line 2'),
            ('a 1\nb 2x\n', 'line 2'),
            ('a 1\na 1\n', "'a' comes twice"),
            ('<s> 1\n', 'twice'),
        ],
        ids=['truncated', 'no-count', 'no-token', 'bad-count', 'twice', 'special'],
    )
    def test_a_broken_file_is_named(self, tmp_path, content, message):
        path = tmp_path / 'vocab.en'
        path.write_bytes(content.encode())
        with pytest.raises(ValueError, match=message):
            Vocabulary.load(path)


class TestSubwordCorpus:
    def test_pairs_and_references(self, corpus_folder, raw):
        corpus = SubwordCorpus(str(corpus_folder))
        pairs = corpus.read('test')
        lines = (raw / 'test.en').read_text().splitlines()
        assert [pair.reference for pair in pairs] == lines and len(lines) == 20
        assert [corpus.decode(pair.target) for pair in pairs] == [line.lower() for line in lines]
        assert all(pair.reference is None for pair in corpus.read('train'))
        german = (raw / 'test.de').read_text().splitlines()
        assert [corpus.encode(line) for line in german] == [pair.source for pair in pairs]

    def test_text_round_trip(self, corpus_folder):
        corpus = SubwordCorpus(str(corpus_folder))
        line = "Der Hund  läuft, & „Zürich“ isn't 3,5%-ig @-@ @@!"
        tokens = corpus.encode(line)
        assert any(token.endswith('@@') for token in tokens)
        assert corpus.join(tokens) == 'der hund läuft , &amp; „ zürich “ isn &apos; t 3,5 % -ig @ - @ @ @ !'

    @pytest.mark.parametrize('name', ['corpus.json', 'vocab.de', 'vocab.en', 'test.de', 'test.en', 'bpe.codes'])
    def test_a_missing_file_is_named(self, folder, name):
        (folder / name).unlink()
        with pytest.raises(FileNotFoundError, match=re.escape(name) + '.*prepare_iwslt14.py'):
            corpus = SubwordCorpus(str(folder))
            corpus.read('test')
            corpus.encode('Hund')

    @pytest.mark.parametrize('name', ['test.de', 'test.en', 'test.detok.en'])
    @pytest.mark.parametrize('cut', [1, 30])
    def test_a_truncated_file_is_named(self, folder, name, cut):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[:-cut])
        with pytest.raises(ValueError, match=rf'{name} has 1\d whole lines instead of 20'):
            SubwordCorpus(str(folder)).read('test')

    def test_a_line_too_many_is_named(self, folder):
        with (folder / 'test.en').open('a') as file:
            file.write('one more\n')
        with pytest.raises(ValueError, match='test.en has 21 whole lines instead of 20'):
            SubwordCorpus(str(folder)).read('test')

    @pytest.mark.parametrize('content', ['{"source": "de"', '{"source": "de"}', '[]'])
    def test_broken_settings_are_named(self, folder, content):
        (folder / 'corpus.json').write_text(content)
        with pytest.raises(ValueError, match='corpus.json is broken'):
            SubwordCorpus(str(folder))

    def test_broken_merges_are_named(self, folder):
        (folder / 'bpe.codes').write_text('#version: 0.2\na b\nabc\n')
        with pytest.raises(ValueError, match="bpe.codes, line 3: expected two symbols to merge, got 'abc"):
            SubwordCorpus(str(folder)).encode('Hund')

    def test_an_unknown_split_is_named(self, corpus_folder):
        with pytest.raises(ValueError, match="no split 'dev'; it has train, valid, test"):
            SubwordCorpus(str(corpus_folder)).read('dev')


class TestNumberWords:
    @pytest.fixture(scope='class')
    def corpus(self):
        return NumberWords()

    def test_splits_do_not_overlap(self):
        train, valid, test = (set(numbers(split)) for split in ('train', 'valid', 'test'))
        assert len(valid) == 500 and len(test) == 2000 and len(train) > 16_000
        assert not valid & test and not train & valid and not train & test
        assert set(range(1000)) <= train | valid | test and max(test) > 99_000
        assert numbers('train') == numbers('train')

    def test_text_round_trip(self, corpus):
        for pair in corpus.read('valid'):
            assert corpus.decode(pair.target) == pair.reference
            assert corpus.encode(''.join(pair.source).capitalize() + ' ') == pair.source
            assert UNK not in corpus.source_vocabulary.encode(pair.source)
            assert UNK not in corpus.target_vocabulary.encode(pair.target)

    def test_units_and_tens_change_places(self, corpus):
        units, tens = dict(drei='three', sieben='seven'), dict(vierzig='forty', neunzig='ninety')
        found = 0
        for pair in corpus.read('valid'):
            match = re.search('(drei|sieben)und(vierzig|neunzig)$', ''.join(pair.source))
            if match:
                found += 1
                assert pair.reference.endswith(f'{tens[match[2]]}-{units[match[1]]}')
        assert found >= 10

    def test_an_unknown_split_is_named(self, corpus):
        with pytest.raises(ValueError, match="no split 'dev'"):
            corpus.read('dev')


class TestParallelText:
    def test_items(self, corpus_folder):
        data = ParallelText(config(corpus_folder), 'test', test_mode=True)
        pair, item = data.corpus.read('test')[7], data[7]
        assert item['inputs'].tolist() == [*data.corpus.source_vocabulary.encode(pair.source), EOS]
        assert item['targets'].tolist() == [*data.corpus.target_vocabulary.encode(pair.target), EOS]
        sample = item['data_samples']
        assert (sample.index, sample.reference) == (7, pair.reference)
        assert sample.reference_tokens == data.corpus.join(pair.target)
        assert data.lengths()[7].tolist() == [len(pair.source) + 1, len(pair.target) + 1]
        assert set(ParallelText(config(corpus_folder), 'train')[0]) == {'inputs', 'targets'}

    def test_lengths_follow_a_subset(self, corpus_folder):
        data = ParallelText(config(corpus_folder), 'train', indices=[5, 3])
        assert data.lengths().tolist() == [[len(data[i]['inputs']), len(data[i]['targets'])] for i in (0, 1)]

    def test_sorting_keeps_the_line_numbers(self, corpus_folder):
        data = ParallelText(config(corpus_folder), 'test', test_mode=True, sort=True)
        assert (data.lengths()[:, 0] == sorted(data.lengths()[:, 0])).all()
        pairs = data.corpus.read('test')
        assert sorted(item['data_samples'].index for item in data) == list(range(20))
        assert all(item['data_samples'].reference == pairs[item['data_samples'].index].reference for item in data)

    def test_metainfo_is_plain_data(self, corpus_folder):
        metainfo = ParallelText(config(corpus_folder), 'test').metainfo
        assert metainfo == json.loads(json.dumps(metainfo))
        assert metainfo == dict(corpus=config(corpus_folder), fingerprints=SubwordCorpus(corpus_folder).fingerprints())

    def test_what_cannot_be_trained_on_is_left_out_and_counted(self, folder, monkeypatch):
        self.break_lines(folder, 'train')
        said = []
        monkeypatch.setattr('mmcgc.datasets.translation.parallel.print_log', lambda text, logger: said.append(text))
        data = ParallelText(config(folder), 'train', max_length=100)
        assert len(data) == 197 and data.lengths().max() <= 100
        assert said == ['train: 2 pairs have an empty side, 1 more than 100 tokens; left out; 197 pairs in all']

    def test_a_test_set_keeps_every_line(self, folder):
        self.break_lines(folder, 'test')
        data = ParallelText(config(folder), 'test', test_mode=True, max_length=100)
        assert len(data) == 20
        assert data[0]['inputs'].tolist() == [EOS] and data[1]['targets'].tolist() == [EOS]
        assert len(data[2]['inputs']) == 5001
        assert set(data[3]['inputs'].tolist()) == {UNK, EOS}

    @staticmethod
    def break_lines(folder, split):
        """An empty source, an empty target, 5,000 tokens, another script; the corpus has no sums, as older ones."""
        settings = json.loads((folder / 'corpus.json').read_text())
        (folder / 'corpus.json').write_text(json.dumps({**settings, 'sha256': {}}))
        for language, broken in dict(de={0: '', 2: 'x ' * 5000, 3: '日 本 語'}, en={1: ''}).items():
            path = folder / f'{split}.{language}'
            lines = path.read_text().split('\n')
            for number, line in broken.items():
                lines[number] = line
            path.write_text('\n'.join(lines))

    @pytest.mark.parametrize('workers', [0, 2])
    def test_loads_through_the_runner(self, corpus_folder, build, workers):
        loader = Runner.build_dataloader(
            dict(
                batch_size=64,
                num_workers=workers,
                dataset=dict(type='mmcgc.ParallelText', corpus=config(corpus_folder), split='train'),
                sampler=dict(type='DefaultSampler', shuffle=True),
                batch_sampler=dict(type='mmcgc.TokenBatchSampler', max_tokens=120),
            ),
            seed=3,
        )
        size = len(loader.dataset.corpus.source_vocabulary)
        model = build('cgc-lightconv', vocabulary=size)
        seen = 0
        for batch in loader:
            padded = model.data_preprocessor(batch)
            assert padded['inputs'].numel() <= 120 and padded['targets'].numel() <= 120
            assert ((padded['inputs'] == EOS).sum(1) == 1).all()
            seen += len(padded['inputs'])
        assert seen == 200
        assert isinstance(loader.batch_sampler.sampler, DefaultSampler) and loader.batch_sampler.sampler.seed == 3

    def test_collating_keeps_samples(self, corpus_folder):
        data = ParallelText(config(corpus_folder), 'test', test_mode=True)
        batch = pseudo_collate([data[0], data[1]])
        assert [sample.index for sample in batch['data_samples']] == [0, 1]
