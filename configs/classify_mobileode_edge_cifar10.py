# The backbone of ssdlite_mobileode_edge.py as a classifier on CIFAR-10; everything else as with MobileODE V1.
_base_ = './classify_mobileode_cifar10.py'
model = dict(backbone=dict(sides=(8, 8, 16, 24, 24), num_steps=1, solver_norm='channel'))
