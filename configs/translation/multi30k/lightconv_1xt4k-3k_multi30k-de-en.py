_base_ = 'lightconv_1xt4k-1k_multi30k-de-en.py'
optim_wrapper = dict(type='mmcgc.BFloat16OptimWrapper')
train_cfg = dict(max_iters=3000, val_interval=500)
default_hooks = dict(checkpoint=dict(interval=250, max_keep_ckpts=3))
