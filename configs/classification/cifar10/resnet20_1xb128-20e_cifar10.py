# Training is in bfloat16, which halves the time on many CPUs.  Every epoch is kept, to draw Figure 5 as training goes.
_base_ = 'resnet20_1xb128-8e_cifar10.py'
optim_wrapper = dict(type='mmcgc.BFloat16OptimWrapper')
param_scheduler = dict(total_steps=20)
train_cfg = dict(max_epochs=20, val_interval=2)
default_hooks = dict(checkpoint=dict(max_keep_ckpts=-1))
loading = dict(num_workers=0, persistent_workers=False)  # one core a run
train_dataloader = loading
val_dataloader = loading
test_dataloader = loading
