_base_ = 'mmpretrain::_base_/datasets/cifar10_bs16.py'

# The official python batches; tools/data/prepare_cifar10.py makes the folder.
dataloader = dict(
    batch_size=128,
    num_workers=2,
    persistent_workers=True,
    pin_memory=False,  # a batch of small uint8 images gains nothing, and pinning warns on a machine without a GPU
    collate_fn=dict(type='default_collate'),
    dataset=dict(type='mmcgc.CIFAR10', data_root='data/cifar10'),
)
train_dataloader = dataloader
val_dataloader = dataloader
test_dataloader = dataloader
val_evaluator = dict(topk=(1, 5))
test_evaluator = val_evaluator
