data_preprocessor = dict(num_classes=10, mean=[77.9] * 3, std=[95.9] * 3, to_rgb=False)

resize = dict(type='Resize', scale=(16, 16), interpolation='bicubic')
train_pipeline = [resize, dict(type='RandomCrop', crop_size=16, padding=2), dict(type='PackInputs')]
test_pipeline = [resize, dict(type='PackInputs')]

# 1,437 and 360 images: reading them in the main process costs less than starting workers.
loading = dict(
    batch_size=32, num_workers=0, persistent_workers=False, pin_memory=False, collate_fn=dict(type='default_collate')
)
train_dataloader = dict(
    **loading,
    dataset=dict(type='mmcgc.Digits', split='train', pipeline=train_pipeline),
    sampler=dict(type='DefaultSampler', shuffle=True),
)
val_dataloader = dict(
    **loading,
    dataset=dict(type='mmcgc.Digits', split='test', pipeline=test_pipeline),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='Accuracy')
test_evaluator = val_evaluator
