# The mini twin of ssdlite_mobileode_full.py.
_base_ = ['./ssdlite_mobileode_mini.py', '../mmodeconf/models/ssdlite_full.py']
model = _base_.full
