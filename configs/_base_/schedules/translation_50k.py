# Adam with decoupled weight decay, as fairseq's Adam has it; bfloat16 needs a recent GPU to be quick.
optim_wrapper = dict(
    type='mmcgc.BFloat16OptimWrapper', optimizer=dict(type='AdamW', lr=5e-4, betas=(0.9, 0.98), weight_decay=1e-4)
)
param_scheduler = dict(type='mmcgc.InverseSqrtLR', warmup=4000, by_epoch=False)
train_cfg = dict(by_epoch=False, max_iters=50000, val_interval=5000)
val_cfg = dict()
test_cfg = dict()
