# The leaf says which corpus.
train_dataloader = dict(
    batch_size=1024,  # sentences, at most; the tokens decide
    num_workers=2,
    persistent_workers=True,
    dataset=dict(type='mmcgc.ParallelText', split='train'),
    sampler=dict(type='DefaultSampler', shuffle=True),
    batch_sampler=dict(type='mmcgc.TokenBatchSampler', max_tokens=4000),
)
val_dataloader = dict(
    batch_size=64,
    num_workers=0,
    dataset=dict(type='mmcgc.ParallelText', split='valid', test_mode=True, sort=True),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
test_dataloader = dict(
    batch_size=64,
    num_workers=0,
    dataset=dict(type='mmcgc.ParallelText', split='test', test_mode=True, sort=True),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
val_evaluator = dict(type='mmcgc.BLEU')
test_evaluator = val_evaluator
