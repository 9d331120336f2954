"""SSDLite with a map of stride 8 before the others, for small objects: any backbone with strides 8, 16 and 32."""

from mmengine.config import read_base

with read_base():
    from .ssdlite import model

# Six maps at 320 px: 40, 20, 10, 5, 3 and 1 positions a side.
model.neck.out_channels = (128, 256, 256, 256, 128, 128)
model.bbox_head.anchor_generator.update(
    strides=[8, 16, 32, 64, 320 / 3, 320],
    min_sizes=[16, 32, 64, 110, 170, 240],
    max_sizes=[32, 64, 110, 170, 240, 320])
