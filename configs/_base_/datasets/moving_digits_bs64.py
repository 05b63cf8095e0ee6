# Clips of 8 frames, all of them in their order.
opening, decoding = dict(type='DecordInit'), dict(type='DecordDecode')
frames = dict(type='SampleFrames', clip_len=1, frame_interval=1, num_clips=8)
packing = [dict(type='FormatShape', input_format='NCHW'), dict(type='PackActionInputs')]
train_pipeline = [opening, frames, decoding, *packing]
test_pipeline = [opening, dict(frames, test_mode=True), decoding, *packing]

loading = dict(batch_size=64, num_workers=2, persistent_workers=True)
train_dataloader = dict(
    **loading,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(type='mmcgc.MovingDigits', split='train', pipeline=train_pipeline),
)
val_dataloader = dict(
    **loading,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='mmcgc.MovingDigits', split='test', pipeline=test_pipeline, test_mode=True),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='AccMetric')
test_evaluator = val_evaluator
