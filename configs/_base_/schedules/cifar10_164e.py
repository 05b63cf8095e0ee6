# Appendix A.1: a tenth of the learning rate after 81 and after 122 of 164 epochs.
_base_ = 'mmpretrain::_base_/schedules/cifar10_bs128.py'
param_scheduler = dict(milestones=[81, 122])
train_cfg = dict(max_epochs=164)
