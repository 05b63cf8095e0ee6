_base_ = 'mmpretrain::_base_/datasets/imagenet_bs32.py'

# Ten classes of ImageNet; tools/data/prepare_imagenette.py makes the folder.
data_preprocessor = dict(num_classes=10)
dataloader = dict(batch_size=64, dataset=dict(type='mmcgc.Imagenette', data_root='data/imagenette'))
train_dataloader = dataloader
val_dataloader = dataloader
test_dataloader = dataloader
