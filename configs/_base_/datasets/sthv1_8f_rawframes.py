# 8 frames spread over the video; tested on one clip and its centre crop.
_base_ = 'sthv1_rawframes.py'
frames = dict(type='SampleFrames', clip_len=1, frame_interval=1, num_clips=8)
decode = dict(type='RawFrameDecode')
packing = [dict(type='FormatShape', input_format='NCHW'), dict(type='PackActionInputs')]
train_pipeline = [frames, decode, *_base_.augmentation, *packing]
test_pipeline = [dict(frames, test_mode=True), decode, *_base_.center_crop, *packing]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
