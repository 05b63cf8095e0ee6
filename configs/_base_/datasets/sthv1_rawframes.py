# Something-Something v1 as its authors ship it, a folder of frames a video; labels count the lines of their label file.
left_right_labels = {2: 4, 4: 2, 30: 41, 41: 30, 52: 66, 66: 52}

augmentation = [
    dict(type='Resize', scale=(-1, 256)),
    dict(type='MultiScaleCrop', input_size=224, scales=(1, 0.875, 0.75, 0.66), max_wh_scale_gap=1, num_fixed_crops=13),
    dict(type='Resize', scale=(224, 224), keep_ratio=False),
    dict(type='Flip', flip_ratio=0.5, flip_label_map=left_right_labels),
]
center_crop = [dict(type='Resize', scale=(-1, 256)), dict(type='CenterCrop', crop_size=224)]

data = dict(type='mmcgc.RawframeDataset', data_prefix=dict(img='data/sthv1/rawframes'), filename_tmpl='{:05}.jpg')
loading = dict(batch_size=8, num_workers=8, persistent_workers=True)
train_dataloader = dict(
    **loading,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(**data, ann_file='data/sthv1/sthv1_train_list_rawframes.txt'),
)
val_dataloader = dict(
    **loading,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(**data, ann_file='data/sthv1/sthv1_val_list_rawframes.txt', test_mode=True),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='AccMetric')
test_evaluator = val_evaluator
