"""Training, resuming, testing, averaging and translating, as a user does them, on a tiny corpus."""

import io
import json
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers import ROOT, free_port
from mmengine.runner import load_checkpoint
from mmengine.runner.checkpoint import CheckpointLoader

from mmcgc.apis import launch
from mmcgc.apis.translate import Translator
from mmcgc.checkpoints.average import average_checkpoints, last_checkpoints

CONFIG = """
_base_ = '{root}/configs/translation/multi30k/cgc-lightconv_1xt4k-1k_multi30k-de-en.py'
folder = '{folder}'
corpus = dict(folder=folder)
sizes = dict(channels=16, hidden=16, heads=2, dropout=0.1, kernel_sizes=[3, 5])
model = dict(
    source_vocabulary=f'{{folder}}/vocab.de', target_vocabulary=f'{{folder}}/vocab.en', search=dict(beam=2),
    encoder=sizes, decoder=dict(**sizes, attention_dropout=0.1))
train_dataloader = dict(dataset=dict(corpus=corpus), batch_sampler=dict(max_tokens=150))
val_dataloader = dict(dataset=dict(corpus=corpus), batch_size=3)
test_dataloader = dict(dataset=dict(corpus=corpus), batch_size=3)
param_scheduler = dict(warmup=20)
train_cfg = dict(max_iters=60, val_interval=60)
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(interval=15))
custom_imports = dict(imports=['mmcgc', 'tiny_hooks'])
custom_hooks = [dict(type='mmcgc.ResumeBatchesHook'), dict(type='DumpWeights')]
"""


@pytest.fixture(scope='module')
def config(tiny, corpus_folder, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp('configs') / 'tiny_translation.py'
    path.write_text(CONFIG.format(root=ROOT, folder=corpus_folder))
    return path


@pytest.fixture(scope='module')
def trained(config, run_tool, tmp_path_factory) -> Path:
    """The work directory of a whole run."""
    work_dir = tmp_path_factory.mktemp('trained')
    run_tool('train.py', config, '--work-dir', work_dir)
    return work_dir


def weights(path):
    return CheckpointLoader.load_checkpoint(str(path), map_location='cpu')['state_dict']


def test_training_learns_and_reports(trained):
    log = next(trained.glob('*/*.log')).read_text()
    losses = [float(loss) for loss in re.findall(r'loss: ([\d.]+)', log)]
    assert len(losses) == 6 and losses[-1] < losses[0] - 0.5
    assert 'bleu/tokenised_lc' in log and 'detokenised BLEU' in log
    rates = re.findall(r'lr: (\S+)', log)
    assert [float(rate) for rate in rates[:2]] == [pytest.approx(1.5e-3), pytest.approx(3e-3)]


def test_a_run_resumed_in_mid_epoch_ends_with_the_same_weights(trained, config, run_tool, tmp_path):
    work_dir = tmp_path / 'resumed'
    work_dir.mkdir()
    shutil.copy(trained / 'iter_15.pth', work_dir)
    (work_dir / 'last_checkpoint').write_text(str(work_dir / 'iter_15.pth'))
    done = run_tool('train.py', config, '--work-dir', work_dir, '--resume', '--no-validate')
    assert 'resumed epoch: 0, iter: 15' in done.stdout + done.stderr
    whole, resumed = weights(trained / 'iter_60.pth'), weights(work_dir / 'iter_60.pth')
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    early = weights(trained / 'iter_15.pth')
    assert not all(torch.equal(whole[name], early[name]) for name in whole)


def test_two_ranks_end_with_the_same_weights(config, run_tool, tmp_path):
    run_tool(
        'dist_train.sh',
        config,
        2,
        '--work-dir',
        tmp_path,
        '--cfg-options',
        'train_cfg.max_iters=6',
        'train_cfg.val_interval=6',
        PORT=free_port(),
    )
    first, second = (torch.load(tmp_path / f'rank{rank}.pt') for rank in (0, 1))
    assert first and all(torch.equal(first[name], second[name]) for name in first)
    log = next(tmp_path.glob('*/*.log')).read_text()
    assert re.search(r'Iter\(val\) +\[4/4\] +bleu/tokenised_lc', log)  # 20 sentences on two ranks, three a batch


def test_testing_gives_both_kinds_of_bleu_whatever_the_batches(trained, config, tmp_path, own_scope):
    scores = []
    for batch_size in (1, 20):
        scores.append(
            launch.test(
                str(config),
                str(trained / 'iter_60.pth'),
                work_dir=str(tmp_path),
                cfg_options={'test_dataloader.batch_size': batch_size},
                out=str(tmp_path / 'metrics.json'),
                out_item='metrics',
            )
        )
    assert scores[0] == pytest.approx(scores[1]) and scores[0]['bleu/tokenised_lc'] > 0
    assert json.loads((tmp_path / 'metrics.json').read_text())['bleu/signature'].startswith('nrefs:1|case:lc')


def test_batches_of_tokens_are_not_tested_on_two_ranks(trained, config, run_tool, tmp_path):
    """The ranks' batches have several sizes and some come twice: a few lines would count twice, others never."""
    done = run_tool(
        'dist_test.sh',
        config,
        trained / 'iter_60.pth',
        2,
        '--work-dir',
        tmp_path,
        '--cfg-options',
        "test_dataloader.batch_sampler.type='mmcgc.TokenBatchSampler'",
        'test_dataloader.batch_sampler.max_tokens=60',
        PORT=free_port(),
        check=False,
    )
    assert done.returncode != 0
    assert re.search(r'of 20 samples \d+ would be scored on 2 ranks.*DefaultSampler', done.stderr)


class TestTranslator:
    @pytest.fixture(scope='class')
    def translator(self, trained, config):
        return Translator(str(config), str(trained / 'iter_60.pth'), device='cpu', max_length=50)

    def test_lines_keep_their_number_and_order(self, translator, raw):
        lines = (raw / 'test.de').read_text().splitlines()
        lines[3:3] = ['', ' \t ', '日本語のテキスト', 'Hund ' * 5000, 'Hund\rKatze\x0b\x85\u2028Haus']
        together = list(translator.translate(lines))
        assert len(together) == len(lines) == 25 and together[3] == together[4] == ''
        assert not any(set(line) & set('\n\r\x0b\x85\u2028') for line in together)
        translator.counts.clear()
        for options in (dict(buffer=4), dict(max_tokens=1)):
            for name, value in options.items():
                setattr(translator, name, value)
            assert list(translator.translate(lines)) == together
        assert translator.counts == dict(lines=50, empty=4, cut=2, foreign=2)
        assert translator.report() == (
            '50 lines translated, of which 4 empty, 2 cut to 50 tokens, 2 of mostly unknown words'
        )

    def test_translations_are_those_of_the_model(self, translator):
        corpus = translator.corpus
        source = torch.tensor([[*corpus.source_vocabulary.encode(corpus.encode('Der Hund läuft.')), 2]])
        (sample,) = translator.model(source, mode='predict')
        expected = corpus.decode(corpus.target_vocabulary.decode(sample.tokens.tolist()))
        assert list(translator.translate(['Der Hund läuft.'])) == [expected] and expected

    def test_search_options_override_the_config(self, trained, config):
        translator = Translator(str(config), str(trained / 'iter_60.pth'), search=dict(beam=1))
        assert translator.model.search['beam'] == 1 and translator.model.search['length_penalty'] == 1.0

    def test_another_models_checkpoint_is_refused(self, trained, config, tmp_path):
        torch.save(dict(state_dict={'weight': torch.zeros(1)}), tmp_path / 'other.pth')
        with pytest.raises(ValueError, match='other.pth does not fit the model of'):
            Translator(str(config), str(tmp_path / 'other.pth'))

    def test_numbers_must_be_positive(self, config):
        with pytest.raises(ValueError, match='buffer=0'):
            Translator(str(config), 'none.pth', buffer=0)


@pytest.mark.parametrize('form', ['file', 'stdin'])
def test_translate_tool(trained, config, tmp_path, run_tool, tiny, form):
    lines = 'Der Hund läuft.\n\nEin Haus.\n'
    arguments = [config, trained / 'iter_60.pth', '--device', 'cpu', '--beam', '1']
    if form == 'file':
        (tmp_path / 'in.de').write_text(lines)
        done = run_tool('translate.py', *arguments, '--input', tmp_path / 'in.de', '--output', tmp_path / 'out.en')
        assert (tmp_path / 'out.en').read_text().count('\n') == 3 and done.stdout == ''
    else:
        command = [sys.executable, ROOT / 'tools/translate.py', *arguments]
        done = subprocess.run(
            [str(part) for part in command],
            input=lines,
            capture_output=True,
            text=True,
            encoding='utf-8',
            env=dict(PYTHONPATH=f'{ROOT}:{tiny.root}', PATH='/bin'),
        )
        assert done.stdout.count('\n') == 3 and done.stdout.split('\n')[1] == '', done.stderr
    assert '3 lines translated, of which 1 empty' in done.stderr


def test_translate_tool_names_what_is_missing(config, run_tool):
    done = run_tool('translate.py', config, 'none.pth', '--text', 'Der Hund läuft.', check=False)
    assert done.returncode == 1 and 'error: none.pth' in done.stderr and 'Traceback' not in done.stderr


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['--text', 'Hund', '--beam', '0'], 'beam=0 must be positive'),
        (['--text', 'Hund', '--length-penalty', 'nan'], 'length_penalty=nan finite'),
        (['--text', 'Hund', '--device', 'abacus'], "the device 'abacus' cannot be used"),
        (['--input', '.'], "Is a directory: '.'"),
        (['--input', ''], "No such file or directory: ''"),
        (['--input', 'utf16.de', '--output', 'kept.en'], 'utf16.de is UTF-16 text'),
        (['--input', 'broken.de', '--output', 'broken.de'], 'broken.de, which is read'),
    ],
    ids=['beam', 'penalty', 'device', 'folder', 'nothing', 'encoding', 'output'],
)
def test_translate_tool_says_what_is_wrong(trained, config, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    Path('utf16.de').write_text('Hund\n', encoding='utf-16')
    Path('broken.de').write_text('Hund\n')
    Path('kept.en').write_text('from before\n')
    monkeypatch.setattr(sys, 'argv', ['translate.py', str(config), str(trained / 'iter_60.pth'), *arguments])
    monkeypatch.setattr(sys, 'stdout', io.TextIOWrapper(io.BytesIO()))
    with pytest.raises(SystemExit, match=f'^error: .*{re.escape(message)}'):
        runpy.run_path(str(ROOT / 'tools/translate.py'), run_name='__main__')
    assert Path('kept.en').read_text() == 'from before\n' and Path('broken.de').read_text() == 'Hund\n'


def test_another_kind_of_config_is_named():
    config = ROOT / 'configs/quickstart/cgc-resnet20_1xb32-10e_digits.py'
    with pytest.raises(ValueError, match='has no test_dataloader.dataset.corpus'):
        Translator(str(config), 'none.pth')


class TestAverage:
    def test_tool_averages_the_last_of_a_run(self, trained, config, run_tool, tmp_path):
        done = run_tool('average_checkpoints.py', trained, '--last', '3', '--out', tmp_path / 'average.pth')
        assert 'iter_30.pth, iter_45.pth, iter_60.pth' in done.stdout
        averaged = weights(tmp_path / 'average.pth')
        parts = [weights(trained / f'iter_{i}.pth') for i in (30, 45, 60)]
        for name, tensor in averaged.items():
            expected = torch.stack([part[name].double() for part in parts]).mean(0)
            assert tensor.dtype == parts[0][name].dtype
            torch.testing.assert_close(tensor.double(), expected, rtol=1e-6, atol=1e-7)
        model = Translator(str(config), str(tmp_path / 'average.pth')).model
        load_checkpoint(model, str(tmp_path / 'average.pth'), strict=True)

    def test_whole_numbers_are_the_last_checkpoints(self, tmp_path):
        for i in (1, 2):
            torch.save(dict(state_dict=dict(w=torch.tensor([float(i)]), n=torch.tensor(i))), tmp_path / f'{i}.pth')
        average_checkpoints([tmp_path / '1.pth', tmp_path / '2.pth'], tmp_path / 'out.pth')
        assert weights(tmp_path / 'out.pth') == dict(w=torch.tensor([1.5]), n=torch.tensor(2))

    def test_last_checkpoints_are_counted_as_numbers(self, tmp_path):
        for name in ('iter_9.pth', 'iter_10.pth', 'iter_100.pth', 'best_bleu_iter_200.pth', 'average.pth'):
            (tmp_path / name).touch()
        assert [path.name for path in last_checkpoints(tmp_path, 2)] == ['iter_10.pth', 'iter_100.pth']
        with pytest.raises(FileNotFoundError, match='has 3 checkpoints .* fewer than 4'):
            last_checkpoints(tmp_path, 4)
        with pytest.raises(ValueError, match='must be positive'):
            last_checkpoints(tmp_path, 0)

    def test_checkpoints_of_two_models_are_refused(self, tmp_path):
        for i in (1, 2):
            torch.save(dict(state_dict=dict(w=torch.zeros(i))), tmp_path / f'{i}.pth')
        with pytest.raises(ValueError, match='2.pth holds other weights than .*1.pth: w'):
            average_checkpoints([tmp_path / '1.pth', tmp_path / '2.pth'], tmp_path / 'out.pth')
        assert not (tmp_path / 'out.pth').exists()
        with pytest.raises(ValueError, match='no checkpoints'):
            average_checkpoints([], tmp_path / 'out.pth')
