# The same clips at 64 pixels, decoded once and kept in memory (1.3 GB), which is why no workers load them.
_base_ = 'camera_motion_bs32.py'
decoding = dict(type='mmcgc.DecodeOnce', size=72)
frames = dict(type='SampleFrames', clip_len=1, frame_interval=1, num_clips=4)
packing = [dict(type='FormatShape', input_format='NCHW'), dict(type='PackActionInputs')]
train_pipeline = [decoding, frames, dict(type='ArrayDecode'), dict(type='RandomCrop', size=64), *packing]
test_pipeline = [
    decoding,
    dict(frames, test_mode=True),
    dict(type='ArrayDecode'),
    dict(type='CenterCrop', crop_size=64),
    *packing,
]
loading = dict(num_workers=0, persistent_workers=False)
train_dataloader = dict(**loading, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(**loading, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
