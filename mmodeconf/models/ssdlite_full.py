"""What SSDLite with COS in neck and head has in the place of models/ssdlite.py's: merge ``full`` into ``model``.

A solver mixes the channels in the projections, the extra layers and the head's towers; one grid, resampled, serves
their maps. Two thirds of SSDLite's head are its prediction layers, which no solver can stand for: here all maps have
one width and six anchors, and share them.
"""

cos = dict(type='COSConv', num_steps=3, norm='position', grid_size=5)

full = dict(
    neck=dict(out_channels=(144, 144, 144, 144, 144, 144), conv_cfg=cos),
    bbox_head=dict(
        stacked_convs=1,
        feat_channels=144,
        share_predictions=True,
        conv_cfg=cos,
        anchor_generator=dict(ratios=[[2, 3], [2, 3], [2, 3], [2, 3], [2, 3], [2, 3]])))
