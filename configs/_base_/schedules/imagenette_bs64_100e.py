# Appendix A.1's schedule for ImageNet, its learning rate of 0.1 for 256 images scaled to 64.
_base_ = 'mmpretrain::_base_/schedules/imagenet_bs256.py'
optim_wrapper = dict(optimizer=dict(lr=0.025))
auto_scale_lr = dict(base_batch_size=64)
