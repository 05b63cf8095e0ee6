# bfloat16, which a CPU trains in less time; every epoch is kept, to draw Figure 5 as training goes.
_base_ = 'resnet50-half_1xb32-2e_imagenette-64px.py'
optim_wrapper = dict(type='mmcgc.BFloat16OptimWrapper')
param_scheduler = dict(total_steps=10)
train_cfg = dict(max_epochs=10)
default_hooks = dict(checkpoint=dict(max_keep_ckpts=-1))
loading = dict(num_workers=0, persistent_workers=False)  # one core a run
train_dataloader = loading
val_dataloader = loading
test_dataloader = loading
