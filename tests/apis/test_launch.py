"""Two trainings in one process are two experiments, whenever they start."""

import time

from mmcgc.apis import launch


def test_trainings_that_start_in_one_second_share_nothing(tiny, own_scope, tmp_path, monkeypatch):
    """MMEngine tells experiments apart by their name and the second in which they start."""
    monkeypatch.setattr(time, 'strftime', lambda *_: '20260101_000000')
    keep_best = {'default_hooks.checkpoint': dict(type='CheckpointHook', interval=1, save_best='auto')}
    for name in ('first', 'second'):
        launch.train(str(tiny.config), work_dir=str(tmp_path / name), cfg_options=keep_best)
        assert len(list((tmp_path / name).glob('best_accuracy*.pth'))) == 1
        (log,) = (tmp_path / name).glob('*/*.log')
        assert log.read_text().count('Saving checkpoint at 2 epochs') == 1
