_base_ = [
    '../../_base_/models/lightconv_iwslt14.py',
    '../../_base_/datasets/parallel_text_4k.py',
    '../../_base_/schedules/translation_50k.py',
    '../../_base_/translation_runtime.py',
]
folder = 'data/iwslt14'
corpus = dict(type='mmcgc.SubwordCorpus', folder=folder)
model = dict(source_vocabulary=f'{folder}/vocab.de', target_vocabulary=f'{folder}/vocab.en')
train_dataloader = dict(dataset=dict(corpus=corpus))
val_dataloader = dict(dataset=dict(corpus=corpus))
test_dataloader = dict(dataset=dict(corpus=corpus))
