# The same clips out of video files.
_base_ = 'sthv1_32f_rawframes.py'
opening, decoding = dict(type='DecordInit'), dict(type='DecordDecode')
train_pipeline = [opening, _base_.train_pipeline[0], decoding, *_base_.train_pipeline[2:]]
val_pipeline = [opening, _base_.val_pipeline[0], decoding, *_base_.val_pipeline[2:]]
test_pipeline = [opening, _base_.test_pipeline[0], decoding, *_base_.test_pipeline[2:]]
data = dict(type='mmcgc.VideoDataset', data_prefix=dict(video='data/sthv1/videos'))
train_dataset = dict(**data, ann_file='data/sthv1/sthv1_train_list_videos.txt')
val_dataset = dict(**data, ann_file='data/sthv1/sthv1_val_list_videos.txt', test_mode=True)
train_dataloader = dict(dataset=dict(_delete_=True, **train_dataset, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(_delete_=True, **val_dataset, pipeline=val_pipeline))
test_dataloader = dict(dataset=dict(_delete_=True, **val_dataset, pipeline=test_pipeline))
