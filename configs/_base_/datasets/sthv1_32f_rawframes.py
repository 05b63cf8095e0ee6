# 32 consecutive frames; tested on ten clips with three crops each.
_base_ = 'sthv1_rawframes.py'
frames = dict(type='SampleFrames', clip_len=32, frame_interval=1, num_clips=1)
decode = dict(type='RawFrameDecode')
packing = [dict(type='FormatShape', input_format='NCTHW'), dict(type='PackActionInputs')]
three_crops = [dict(type='Resize', scale=(-1, 256)), dict(type='ThreeCrop', crop_size=256)]
train_pipeline = [frames, decode, *_base_.augmentation, *packing]
val_pipeline = [dict(frames, test_mode=True), decode, *_base_.center_crop, *packing]
test_pipeline = [dict(frames, num_clips=10, test_mode=True), decode, *three_crops, *packing]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = dict(batch_size=1, dataset=dict(pipeline=test_pipeline))
