# The same clips out of video files.
_base_ = 'sthv1_8f_rawframes.py'
opening, decoding = dict(type='DecordInit'), dict(type='DecordDecode')
train_pipeline = [opening, _base_.train_pipeline[0], decoding, *_base_.train_pipeline[2:]]
test_pipeline = [opening, _base_.test_pipeline[0], decoding, *_base_.test_pipeline[2:]]
data = dict(type='mmcgc.VideoDataset', data_prefix=dict(video='data/sthv1/videos'))
train_dataset = dict(**data, ann_file='data/sthv1/sthv1_train_list_videos.txt', pipeline=train_pipeline)
val_dataset = dict(**data, ann_file='data/sthv1/sthv1_val_list_videos.txt', pipeline=test_pipeline, test_mode=True)
train_dataloader = dict(dataset=dict(_delete_=True, **train_dataset))
val_dataloader = dict(dataset=dict(_delete_=True, **val_dataset))
test_dataloader = dict(dataset=dict(_delete_=True, **val_dataset))
