_base_ = [
    '../_base_/models/lightconv_small.py',
    '../_base_/datasets/parallel_text_4k.py',
    '../_base_/schedules/translation_1k.py',
    '../_base_/translation_runtime.py',
]
corpus = dict(type='mmcgc.NumberWords')
sizes = dict(kernel_sizes=[3, 7, 15], channels=64, hidden=128, dropout=0.0, mixer=dict(conv=dict(weight_dropout=0.0)))
model = dict(
    source_vocabulary=40,
    target_vocabulary=40,
    encoder=sizes,
    decoder=dict(**sizes, attention_dropout=0.0),
    search=dict(beam=1),
)
train_dataloader = dict(
    num_workers=0, dataset=dict(corpus=corpus), batch_sampler=dict(max_tokens=2000), persistent_workers=False
)
val_dataloader = dict(dataset=dict(corpus=corpus))
test_dataloader = dict(dataset=dict(corpus=corpus))
val_evaluator = dict(type='mmcgc.ExactMatch')
test_evaluator = val_evaluator
param_scheduler = dict(_delete_=True, type='OneCycleLR', eta_max=3e-3, total_steps=1000, by_epoch=False)
checkpoint = dict(interval=250, max_keep_ckpts=1, save_best='accuracy/exact_match')
default_hooks = dict(logger=dict(interval=50), checkpoint=checkpoint)
custom_hooks = [dict(type='mmcgc.ResumeBatchesHook'), dict(type='mmcgc.CurvesHook', interval=25)]
