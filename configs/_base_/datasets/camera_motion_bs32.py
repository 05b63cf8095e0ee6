# tools/data/make_camera_motion.py makes these clips.  They are not flipped, which would turn left into right.
opening, decoding = dict(type='DecordInit'), dict(type='DecordDecode')
frames = dict(type='SampleFrames', clip_len=1, frame_interval=1, num_clips=4)
resizing = dict(type='Resize', scale=(128, 128), keep_ratio=False)
packing = [dict(type='FormatShape', input_format='NCHW'), dict(type='PackActionInputs')]
train_pipeline = [opening, frames, decoding, resizing, dict(type='RandomCrop', size=112), *packing]
test_pipeline = [
    opening,
    dict(frames, test_mode=True),
    decoding,
    resizing,
    dict(type='CenterCrop', crop_size=112),
    *packing,
]

data = dict(type='mmcgc.VideoDataset', data_prefix=dict(video='data/camera_motion'))
loading = dict(batch_size=32, num_workers=2, persistent_workers=True)
train_dataloader = dict(
    **loading,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(**data, ann_file='data/camera_motion/train_list_videos.txt', pipeline=train_pipeline),
)
val_dataloader = dict(
    **loading,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(**data, ann_file='data/camera_motion/val_list_videos.txt', pipeline=test_pipeline, test_mode=True),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='AccMetric')
test_evaluator = val_evaluator
