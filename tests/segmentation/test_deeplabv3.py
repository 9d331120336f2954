"""The segmentor: widths that follow, dilation, training, whole inference on images of any size."""
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.structures import PixelData
from mmseg.apis import inference_model, init_model
from mmseg.models.segmentors import EncoderDecoder
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

from mobileode_mm.errors import InputError
from mobileode_mm.segmentation import DeepLabV3

CONFIGS = Path(__file__).parents[2] / 'configs'
OS8 = dict(strides=(2, 1, 2, 2, 1, 1), dilations=(1, 1, 1, 1, 2, 4))
OS16 = dict(strides=(2, 1, 2, 2, 2, 1), dilations=(1, 1, 1, 1, 1, 2))
BACKBONES = {
    'MobileODE V1': (dict(type='MobileODEV1', out_indices=(4, 5), **OS8), (576, 576)),
    'MobileODE V1, 16': (dict(type='MobileODEV1', out_indices=(4, 5), **OS16), (576, 576)),
    'MobileViT-ODE': (dict(type='MobileViTODE', out_indices=(4, 5), widen_factor=0.25, num_steps=2, **OS8), (36, 40)),
    'wider': (dict(type='MobileODEV1', out_indices=(4, 5), widen_factor=0.5, **OS8), (144, 144)),
    'MobileODE V2': (dict(type='MobileODEV2', out_indices=(4, 5), **OS8), (576, 1024)),
    'MobileNetV1': (dict(type='MobileNetV1', out_indices=(4, 5), **OS8), (512, 1024)),
    'MobileNetV2': (dict(type='mmseg.MobileNetV2', out_indices=(4, 6), strides=(1, 2, 2, 1, 1, 1, 1),
                         dilations=(1, 1, 1, 2, 2, 4, 4)), (96, 320)),
    'MobileNetV3': (dict(type='mmseg.MobileNetV3', arch='large', out_indices=(12, 16)), (112, 960)),
    'ResNet': (dict(type='mmseg.ResNetV1c', depth=18, num_stages=4, out_indices=(2, 3), strides=(1, 2, 1, 1),
                    dilations=(1, 1, 2, 4)), (256, 512)),
}


@pytest.fixture(autouse=True)
def scope():
    with DefaultScope.overwrite_default_scope('mmseg'):
        yield


def config(backbone=None, name='deeplabv3_mobileode_mini', **options):
    cfg = Config.fromfile(CONFIGS / f'{name}.py')
    if backbone:
        cfg.model.backbone = dict(backbone)
    cfg.merge_from_dict({f'model.{key}': value for key, value in options.items()})
    return cfg.model


def build(*args, **options):
    torch.manual_seed(0)
    return MODELS.build(config(*args, **options))


@pytest.fixture(scope='module')
def segmentor():
    with DefaultScope.overwrite_default_scope('mmseg'):
        return build()


def batch(count, size, label=None):
    """What a dataloader gives: images and label maps of one size."""
    generator = torch.Generator().manual_seed(0)
    inputs, samples = [], []
    for _ in range(count):
        inputs.append(torch.randint(0, 256, (3, *size), generator=generator, dtype=torch.uint8))
        truth = torch.randint(0, 11, (1, *size), generator=generator) if label is None else label[None]
        samples.append(SegDataSample(metainfo=dict(img_shape=size, ori_shape=size, pad_shape=size),
                                     gt_sem_seg=PixelData(data=truth)))
    return dict(inputs=inputs, data_samples=samples)


def loss(segmentor, data):
    data = segmentor.data_preprocessor(data, training=True)
    return segmentor.parse_losses(segmentor(**data, mode='loss'))[0]


@pytest.mark.parametrize('name', BACKBONES)
def test_widths_follow_any_backbone(name):
    backbone, channels = BACKBONES[name]
    model = build(backbone)
    assert (model.auxiliary_head.in_channels, model.decode_head.in_channels) == channels
    stride = 16 if name.endswith('16') else 8
    with torch.no_grad():
        maps = model.eval().extract_feat(torch.zeros(1, 3, 64, 96))
    assert [tuple(x.shape[2:]) for x in maps] == [(64 // stride, 96 // stride)] * 2


def test_is_mmsegs_own_when_widths_are_typed(segmentor):
    """The same losses and predictions as EncoderDecoder with in_channels typed by hand."""
    cfg = config()
    cfg.type = 'EncoderDecoder'
    cfg.decode_head.in_channels = cfg.auxiliary_head.in_channels = 576
    other = MODELS.build(cfg)
    assert type(other) is EncoderDecoder and type(segmentor) is DeepLabV3
    other.load_state_dict(segmentor.state_dict())
    for head in (segmentor.decode_head, segmentor.auxiliary_head, other.decode_head, other.auxiliary_head):
        head.dropout = None
    segmentor.eval(), other.eval()
    data = batch(2, (48, 64))
    torch.testing.assert_close(loss(segmentor, data), loss(other, data))
    ours, theirs = segmentor.test_step(data), other.test_step(data)
    torch.testing.assert_close(ours[0].seg_logits.data, theirs[0].seg_logits.data, rtol=1e-4, atol=1e-5)


def test_init_model_of_mmseg_makes_it():
    model = init_model(CONFIGS / 'deeplabv3_mobileode_mini.py', device='cpu')
    with torch.no_grad():
        result = inference_model(model, np.zeros((60, 90, 3), np.uint8))
    assert result.pred_sem_seg.shape == (60, 90)


def test_several_auxiliary_heads_and_several_maps():
    cfg = config()
    cfg.auxiliary_head = [dict(cfg.auxiliary_head), dict(
        cfg.auxiliary_head, in_index=(0, 1), input_transform='resize_concat')]
    model = MODELS.build(cfg)
    assert [head.in_channels for head in model.auxiliary_head] == [576, 1152]


def test_typed_widths_must_agree():
    assert build(**{'decode_head.in_channels': 576}).decode_head.in_channels == 576
    with pytest.raises(InputError, match=r'model.decode_head.in_channels is 320, but MobileODEV1 gives 576'):
        build(**{'decode_head.in_channels': 320})


def test_a_map_that_is_not_there():
    with pytest.raises(InputError, match=r'auxiliary_head.in_index is -2, but MobileODEV1 gives 1 maps.*out_indices'):
        build(dict(type='MobileODEV1', out_indices=(5, )))


@pytest.mark.parametrize('strides, dilations', [OS8.values(), OS16.values()], ids=['8', '16'])
def test_dilation_keeps_the_strided_network_s_values(strides, dilations):
    """At the positions that a stride would keep, with a norm that does not look at the size, the dilated network
    computes what the strided one does: its residual blocks dilate too, and pretrained weights stay valid."""
    common = dict(type='MobileODEV1', solver_norm='channel', widen_factor=0.25)
    torch.manual_seed(0)
    strided = MODELS.build(common).eval()
    dilated = MODELS.build(dict(common, strides=strides, dilations=dilations)).eval()
    dilated.load_state_dict(strided.state_dict())
    image = torch.randn(1, 3, 256, 256)
    with torch.no_grad():
        coarse, fine = strided(image)[0], dilated(image)[0]
    step = fine.shape[-1] // coarse.shape[-1]
    assert step == (4 if strides[4] == 1 else 2)
    torch.testing.assert_close(fine[..., ::step, ::step], coarse, rtol=1e-4, atol=1e-5)


def test_trains(segmentor):
    segmentor.train()
    segmentor.zero_grad()
    value = loss(segmentor, batch(2, (48, 80)))
    value.backward()
    assert value > 0
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in segmentor.parameters())


def test_learns_one_batch():
    model = build(**{'backbone.widen_factor': 0.25, 'decode_head.channels': 32, 'auxiliary_head.channels': 16}).train()
    label = torch.zeros(48, 48, dtype=torch.long)
    label[8:32, 16:40] = 3
    data = batch(2, (48, 48), label)
    for sample_input in data['inputs']:
        sample_input[:, label == 3] //= 4
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    values = []
    for _ in range(30):
        value = loss(model, data)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert values[-1] < 0.35 * values[0], values


def test_one_picture_cannot_train(segmentor):
    segmentor.train()
    with pytest.raises(InputError, match='batches of one image.*batch_size to 2'):
        loss(segmentor, batch(1, (48, 48)))
    segmentor.eval()
    assert loss(segmentor, batch(1, (48, 48))) > 0


# VOC's usual sizes, and down to where the map is one position.
@pytest.mark.parametrize('size', [(375, 500), (500, 333), (96, 96), (8, 8), (1, 1), (1, 200), (7, 65)])
@pytest.mark.parametrize('norm', ['position', 'channel'])
def test_whole_inference_of_any_size(size, norm):
    model = build(**{'backbone.solver_norm': norm, 'backbone.widen_factor': 0.5}).eval()
    data = batch(1, size)
    maps = model.extract_feat(model.data_preprocessor(data)['inputs'])
    assert all(tuple(x.shape[2:]) == tuple(-(-side // 8) for side in size) for x in maps)
    result = model.test_step(data)[0]
    assert result.pred_sem_seg.data.shape == (1, *size)
    assert result.seg_logits.data.shape == (11, *size) and result.seg_logits.data.isfinite().all()


def test_whole_inference_scales_back_to_the_picture(segmentor):
    """A image that the pipeline has resized: predictions have the size of the file."""
    data = batch(1, (120, 150))
    data['data_samples'][0].set_metainfo(dict(ori_shape=(375, 469), img_shape=(120, 150), pad_shape=(120, 150)))
    assert segmentor.eval().test_step(data)[0].pred_sem_seg.data.shape == (1, 375, 469)


@pytest.mark.parametrize('name', ['deeplabv3_mobileode', 'deeplabv3_mobileode_os16'])
def test_the_full_network_on_a_whole_picture(name):
    model = build(name=name).eval()
    assert model.decode_head.channels == 512
    assert model.test_step(batch(1, (375, 500)))[0].seg_logits.data.shape == (21, 375, 500)
