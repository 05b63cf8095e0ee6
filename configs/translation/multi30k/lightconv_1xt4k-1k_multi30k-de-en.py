_base_ = [
    '../../_base_/models/lightconv_small.py',
    '../../_base_/datasets/parallel_text_4k.py',
    '../../_base_/schedules/translation_1k.py',
    '../../_base_/translation_runtime.py',
]
folder = 'data/multi30k'
corpus = dict(type='mmcgc.SubwordCorpus', folder=folder)
model = dict(source_vocabulary=f'{folder}/vocab.de', target_vocabulary=f'{folder}/vocab.en')
train_dataloader = dict(dataset=dict(corpus=corpus), num_workers=0, persistent_workers=False)
val_dataloader = dict(dataset=dict(corpus=corpus))
test_dataloader = dict(dataset=dict(corpus=corpus))
default_hooks = dict(checkpoint=dict(interval=100))
