"""The benchmark measures what it says, after it has checked the scores."""

import csv

import pytest
import torch

from mmcgc.analysis.speed import benchmark_translation as translation_speed
from mmcgc.analysis.speed.benchmark_translation import benchmark, table
from mmcgc.analysis.tables import append_csv

CONFIG = """
model = dict(
    type='mmcgc.TranslationModel',
    source_vocabulary=r'{folder}/vocab.de', target_vocabulary=r'{folder}/vocab.en',
    encoder=dict(mixer=dict(type='mmcgc.SelfAttention'), num_layers=1, channels=8, hidden=8, heads=2),
    decoder=dict(mixer=dict(type='mmcgc.SelfAttention'), num_layers=1, channels=8, hidden=8, heads=2))
corpus = dict(type='mmcgc.SubwordCorpus', folder=r'{folder}')
test_dataloader = dict(dataset=dict(type='mmcgc.ParallelText', corpus=corpus, split='test', test_mode=True))
"""


@pytest.fixture
def config(corpus_folder, tmp_path):
    path = tmp_path / 'tiny.py'
    path.write_text(CONFIG.format(folder=corpus_folder))
    return str(path)


def test_rows_add_up(config, tmp_path):
    rows = benchmark(
        [config, config], sentences=12, max_tokens=100, repeats=2, device='cpu', search=dict(beam=2, max_length=(0, 5))
    )
    assert [row['sentences'] for row in rows] == [12, 12] and rows[0]['ratio_to_first'] == 1
    for row in rows:
        low, middle, high = (row[f'sentences_per_second_{p}'] for p in ('p20', 'p50', 'p80'))
        assert 0 < low <= middle <= high
        assert 12 <= row['written_tokens'] <= 12 * 6
        assert row['tokens_per_second_p50'] == pytest.approx(middle * row['written_tokens'] / 12, rel=0.01)
        assert row['peak_mib'] > 50 and row['weights'] == 'random' and row['beam'] == 2
    for _ in range(2):
        append_csv(rows, tmp_path / 'speed.csv')
    with open(tmp_path / 'speed.csv') as file:
        written = list(csv.DictReader(file))
    assert len(written) == 4 and written[3]['config'] == 'tiny' and set(written[0]) == set(translation_speed.COLUMNS)
    text = table(rows)
    assert text.count('| tiny') == 2 and f'{rows[0]["parameters"]:,}' in text and 'cpu' in text.splitlines()[-1]


def test_wrong_scores_stop_the_benchmark(build, monkeypatch):
    model = build('cgc-lightconv')
    source = torch.tensor([[5, 6, 2], [7, 2, 0]])
    translation_speed._check_scores(model, source)
    predict = model._predict

    def wrong(*args):
        samples = predict(*args)
        samples[0].score += 0.1
        return samples

    monkeypatch.setattr(model, '_predict', wrong)
    with pytest.raises(RuntimeError, match='the search gives a translation the score'):
        translation_speed._check_scores(model, source)


def test_bad_numbers_are_named(config):
    with pytest.raises(ValueError, match='1 configs need as many checkpoints, got 2'):
        benchmark([config], ['a.pth', 'b.pth'])
    with pytest.raises(ValueError, match='repeats=0'):
        benchmark([config], repeats=0)
