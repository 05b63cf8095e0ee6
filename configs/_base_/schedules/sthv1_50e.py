# Section 3.3, P3D-A.
_base_ = 'sthv1_45e.py'
optim_wrapper = dict(optimizer=dict(lr=0.01))
param_scheduler = dict(milestones=[30, 40, 45])
train_cfg = dict(max_epochs=50)
