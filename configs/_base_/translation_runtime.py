default_scope = 'mmengine'
custom_imports = dict(imports=['mmcgc'], allow_failed_imports=False)
# The last ten checkpoints are there to be averaged.
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=100),
    checkpoint=dict(
        type='CheckpointHook',
        by_epoch=False,
        interval=1000,
        max_keep_ckpts=10,
        save_best='bleu/tokenised_lc',
        rule='greater',
    ),
)
custom_hooks = [dict(type='mmcgc.ResumeBatchesHook'), dict(type='mmcgc.CurvesHook', interval=100)]
log_processor = dict(by_epoch=False)
randomness = dict(seed=0)
