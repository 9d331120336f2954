# SSDLite with MobileODE V2: lr 1.2e-3, reached from 9e-5 too; everything else as with V1.
_base_ = './ssdlite_mobileode_busi.py'
model = dict(backbone=dict(type='MobileODEV2'))
optim_wrapper = dict(optimizer=dict(lr=1.2e-3))
param_scheduler = [dict(_base_.param_scheduler[0], start_factor=0.075), _base_.param_scheduler[1]]
