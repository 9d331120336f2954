"""The stand-in's operators, called through mmcv's own Python, against plain implementations written here.

The compiled extension goes through the same comparisons where it is installed.
"""

import importlib
import math
import sys

import numpy as np
import pytest
import torch
from torch.nn.modules.utils import _pair

import mobileode_mm.compat.torchvision_ext as stand_in
from mobileode_mm.compat.mmcv_ops import ops_in_use

mmcv_ops = pytest.importorskip('mmcv.ops')

DEVICES = ['cpu', 'cuda'] if torch.cuda.is_available() else ['cpu']

MODULES = ('nms', 'bbox', 'roi_align', 'roi_pool', 'deform_conv', 'modulated_deform_conv', 'focal_loss')


@pytest.fixture(params=['torchvision', 'compiled'])
def ext(request, monkeypatch):
    """Has mmcv's Python call the stand-in, or the compiled extension."""
    if request.param == 'torchvision':
        ext = stand_in
    elif ops_in_use() == 'compiled':
        ext = importlib.import_module('mmcv._ext')
    else:
        pytest.skip('mmcv is installed without its compiled operators')
    for name in MODULES:
        monkeypatch.setattr(sys.modules[f'mmcv.ops.{name}'], 'ext_module', ext)
    return ext


@pytest.fixture(params=DEVICES)
def device(request, ext):
    for_cpu_alone = ext is not stand_in and ext.get_compiling_cuda_version() == 'not available'
    if request.param == 'cuda' and for_cpu_alone:
        pytest.skip('mmcv is compiled for the CPU alone')
    return request.param


@pytest.fixture
def device_of_gpu_op(device, ext):
    """For what mmcv compiles for a GPU alone."""
    if device == 'cpu' and ext is not stand_in:
        pytest.skip('compiled mmcv has no CPU kernel for this operator')
    return device


def randn(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def rand(*shape, seed=0, dtype=torch.float64):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def assert_same(compute, reference, inputs, device, rtol=1e-9, atol=1e-9):
    """Output and the gradient of every input agree, under a random weighting of the output."""
    results = []
    for function, place in ((compute, device), (reference, 'cpu')):
        leaves = [t.detach().clone().to(place).requires_grad_() for t in inputs]
        output = function(*leaves)
        weighting = randn(*output.shape, seed=99, dtype=output.dtype).to(place)
        results.append([output.detach(), *torch.autograd.grad((output * weighting).sum(), leaves)])
    for got, expected in zip(*results):
        torch.testing.assert_close(got.cpu(), expected, rtol=rtol, atol=atol)


def random_boxes(count, extent=40., seed=0):
    start = rand(count, 2, seed=seed, dtype=torch.float32) * extent
    size = rand(count, 2, seed=seed + 1, dtype=torch.float32) * extent / 2
    return torch.cat([start, start + size], dim=1)


def plain_iou(a, b, offset):
    width = min(a[2], b[2]) - max(a[0], b[0]) + offset
    height = min(a[3], b[3]) - max(a[1], b[1]) + offset
    inter = max(width, np.float32(0)) * max(height, np.float32(0))
    area_a, area_b = ((c[2] - c[0] + offset) * (c[3] - c[1] + offset) for c in (a, b))
    return inter / (area_a + area_b - inter)


def plain_nms(boxes, scores, threshold, offset):
    boxes, offset = boxes.numpy(), np.float32(offset)
    kept = []
    for i in scores.argsort(descending=True).tolist():
        if all(plain_iou(boxes[i], boxes[j], offset) <= np.float32(threshold) for j in kept):
            kept.append(i)
    return kept


@pytest.mark.parametrize('offset', [0, 1])
@pytest.mark.parametrize('count', [1, 2, 57])
@pytest.mark.parametrize('threshold', [0.1, 0.5])
def test_nms(device, offset, count, threshold):
    boxes, scores = random_boxes(count), rand(count, seed=5, dtype=torch.float32)
    dets, kept = mmcv_ops.nms(boxes.to(device), scores.to(device), threshold, offset=offset)
    expected = plain_nms(boxes, scores, threshold, offset)
    assert kept.tolist() == expected
    torch.testing.assert_close(dets.cpu(), torch.cat([boxes, scores[:, None]], 1)[expected], rtol=0, atol=0)


def test_nms_of_no_boxes(device):
    dets, kept = mmcv_ops.nms(torch.zeros(0, 4, device=device), torch.zeros(0, device=device), 0.5)
    assert dets.shape == (0, 5) and kept.shape == (0,)


@pytest.mark.parametrize('boxes, offset', [([[0, 0, 10, 10], [0, 0, 10, 6]], 0),
                                           ([[0, 0, 9, 9], [0, 0, 9, 5]], 1)])
def test_nms_keeps_an_overlap_equal_to_the_threshold(device, boxes, offset):
    # The IoU is 60 / 100: 0.6f, which as a double is above 0.6.
    boxes = torch.tensor(boxes, dtype=torch.float32, device=device)
    _, kept = mmcv_ops.nms(boxes, torch.tensor([0.9, 0.8], device=device), 0.6, offset=offset)
    assert kept.tolist() == [0, 1]


def test_batched_nms_keeps_classes_apart(device):
    boxes, scores = random_boxes(60), rand(60, seed=5, dtype=torch.float32)
    labels = torch.arange(60) % 3
    dets, kept = mmcv_ops.batched_nms(*(t.to(device) for t in (boxes, scores, labels)),
                                      dict(type='nms', iou_threshold=0.3))
    expected = []
    for label in range(3):
        of_class = (labels == label).nonzero().flatten()
        expected += of_class[plain_nms(boxes[of_class], scores[of_class], 0.3, 0)].tolist()
    assert sorted(kept.tolist()) == sorted(expected)
    assert bool((dets[:-1, 4] >= dets[1:, 4]).all())


@pytest.mark.parametrize('offset', [0, 1])
def test_bbox_overlaps(device, offset):
    a, b = random_boxes(7, seed=1), random_boxes(11, seed=3)
    got = mmcv_ops.bbox_overlaps(a.to(device), b.to(device), offset=offset).cpu()
    expected = [[float(plain_iou(x, y, np.float32(offset))) for y in b.numpy()] for x in a.numpy()]
    torch.testing.assert_close(got, torch.tensor(expected))


def bilinear(image, y, x):
    """(C, H, W) sampled at one point; up to a pixel outside, the border goes on, and then comes nothing."""
    height, width = image.shape[1:]
    if y < -1 or y > height or x < -1 or x > width:
        return torch.zeros_like(image[:, 0, 0])
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    y0, x0 = int(y), int(x)
    y1, x1 = min(y0 + 1, height - 1), min(x0 + 1, width - 1)
    top = image[:, y0, x0] * (1 - (x - x0)) + image[:, y0, x1] * (x - x0)
    bottom = image[:, y1, x0] * (1 - (x - x0)) + image[:, y1, x1] * (x - x0)
    return top * (1 - (y - y0)) + bottom * (y - y0)


def plain_roi_align(features, rois, size, scale, samples, aligned):
    pooled = []
    for index, *box in rois.tolist():
        x1, y1, x2, y2 = (c * scale - (0.5 if aligned else 0) for c in box)
        width, height = x2 - x1, y2 - y1
        if not aligned:
            width, height = max(width, 1), max(height, 1)
        bin_h, bin_w = height / size[0], width / size[1]
        n_y, n_x = (samples, samples) if samples > 0 else (math.ceil(bin_h), math.ceil(bin_w))
        cells = []
        for i in range(size[0]):
            for j in range(size[1]):
                ys = [y1 + (i + (p + 0.5) / n_y) * bin_h for p in range(n_y)]
                xs = [x1 + (j + (q + 0.5) / n_x) * bin_w for q in range(n_x)]
                points = [bilinear(features[int(index)], y, x) for y in ys for x in xs]
                cells.append(sum(points, features.new_zeros(features.size(1))) / max(len(points), 1))
        pooled.append(torch.stack(cells, dim=1).reshape(-1, *size))
    return torch.stack(pooled)


ROIS = torch.tensor([
    [0, 3.3, 2.1, 17.9, 25.2],
    [1, 0, 0, 51, 35],
    [1, -9.7, -4.2, 6.1, 70.3],  # over the border on two sides
    [0, 20.4, 11.2, 20.9, 11.3],  # smaller than a pixel
    [1, 7.5, 9.25, 7.5, 9.25],  # without extent
    [0, 300, 300, 320, 330],  # outside
], dtype=torch.float64)


@pytest.mark.parametrize('aligned', [True, False])
@pytest.mark.parametrize('samples', [0, 2])
@pytest.mark.parametrize('size, scale', [((3, 2), 0.5), ((1, 5), 0.25), ((7, 7), 1.0)])
def test_roi_align(device, size, scale, samples, aligned):
    assert_same(lambda f: mmcv_ops.roi_align(f, ROIS.to(device), size, scale, samples, 'avg', aligned),
                lambda f: plain_roi_align(f, ROIS, size, scale, samples, aligned),
                [randn(2, 3, 9, 13)], device)


def test_roi_align_of_no_rois(device):
    features = randn(2, 3, 9, 13).to(device).requires_grad_()
    rois = torch.zeros(0, 5, device=device, dtype=torch.float64)
    pooled = mmcv_ops.roi_align(features, rois, (2, 2), 1., 0, 'avg', True)
    assert pooled.shape == (0, 3, 2, 2)
    pooled.sum().backward()
    assert not features.grad.any()


def test_roi_align_refuses_a_box_inside_out(ext):
    inside_out = torch.tensor([[0, 5, 5, 3, 9.]])
    with pytest.raises(RuntimeError):
        mmcv_ops.roi_align(randn(1, 3, 9, 13, dtype=torch.float32), inside_out, (2, 2), 1., 0, 'avg', True)


def plain_roi_pool(features, rois, size, scale):
    height, width = features.shape[2:]
    pooled = []
    for index, x1, y1, x2, y2 in rois.tolist():
        x1, y1, x2, y2 = x1 * scale, y1 * scale, (x2 + 1) * scale, (y2 + 1) * scale
        cells = []
        for i in range(size[0]):
            rows = slice(min(max(math.floor(y1 + i * (y2 - y1) / size[0]), 0), height),
                         min(max(math.ceil(y1 + (i + 1) * (y2 - y1) / size[0]), 0), height))
            for j in range(size[1]):
                columns = slice(min(max(math.floor(x1 + j * (x2 - x1) / size[1]), 0), width),
                                min(max(math.ceil(x1 + (j + 1) * (x2 - x1) / size[1]), 0), width))
                cell = features[int(index), :, rows, columns].flatten(1)
                empty = cell.size(1) == 0 or x2 <= x1 or y2 <= y1
                cells.append(features.new_zeros(features.size(1)) if empty else cell.max(1).values)
        pooled.append(torch.stack(cells, dim=1).reshape(-1, *size))
    return torch.stack(pooled)


@pytest.mark.parametrize('size, scale', [((3, 2), 0.5), ((1, 5), 0.25), ((7, 7), 1.0), ((2, 3), 0.3)])
def test_roi_pool(device_of_gpu_op, size, scale):
    assert_same(lambda f: mmcv_ops.roi_pool(f, ROIS.to(device_of_gpu_op), size, scale),
                lambda f: plain_roi_pool(f, ROIS, size, scale), [randn(2, 3, 9, 13)], device_of_gpu_op)


def test_roi_pool_of_a_box_inside_out_gives_zero_and_passes_nothing_back():
    features = randn(1, 2, 5, 6)
    roi = torch.tensor([[0, 4, 1, 2, 3.]], dtype=torch.float64)
    output, argmax = randn(1, 2, 2, 2), torch.zeros(1, 2, 2, 2, dtype=torch.int)
    settings = dict(pooled_height=2, pooled_width=2, spatial_scale=1.)
    stand_in.roi_pool_forward(features, roi, output, argmax, **settings)
    assert not output.any() and bool((argmax == -1).all())
    grad = torch.ones_like(features)
    stand_in.roi_pool_backward(torch.ones_like(output), roi, argmax, grad, **settings)
    assert not grad.any()


def plain_deform_conv(x, offset, mask, weight, bias, stride, padding, dilation, groups, deform_groups):
    """Sampling with zeros outside; from one whole pixel outside on, a sample is the constant 0."""
    (n, channels, height, width), (out_channels, _, k_h, k_w) = x.shape, weight.shape
    out_h, out_w = offset.shape[2:]
    offset = offset.view(n, deform_groups, k_h, k_w, 2, out_h, out_w)
    rows = torch.arange(out_h).view(-1, 1) * stride[0] - padding[0]
    columns = torch.arange(out_w) * stride[1] - padding[1]
    taps = []
    for i in range(k_h):
        for j in range(k_w):
            samples = []
            for c in range(channels):
                g = c * deform_groups // channels
                y = rows + i * dilation[0] + offset[:, g, i, j, 0]
                z = columns + j * dilation[1] + offset[:, g, i, j, 1]
                inside = (y > -1) & (y < height) & (z > -1) & (z < width)
                value = 0
                above, left = y.detach().floor(), z.detach().floor()
                for y_near, y_share in ((above, 1 - (y - above)), (above + 1, y - above)):
                    for z_near, z_share in ((left, 1 - (z - left)), (left + 1, z - left)):
                        known = inside & (y_near >= 0) & (y_near < height) & (z_near >= 0) & (z_near < width)
                        flat = (y_near.clamp(0, height - 1) * width + z_near.clamp(0, width - 1)).long()
                        pixel = x[:, c].flatten(1).gather(1, flat.flatten(1)).view_as(y)
                        value = value + torch.where(known, pixel * y_share * z_share, 0)
                if mask is not None:
                    value = value * mask.view(n, deform_groups, k_h, k_w, out_h, out_w)[:, g, i, j]
                samples.append(value)
            taps.append(torch.stack(samples, dim=1))
    taps = torch.stack(taps, dim=2).view(n, groups, channels // groups, k_h * k_w, out_h, out_w)
    weight = weight.view(groups, out_channels // groups, channels // groups, k_h * k_w)
    result = torch.einsum('ngckhw,gock->ngohw', taps, weight).reshape(n, out_channels, out_h, out_w)
    return result if bias is None else result + bias.view(-1, 1, 1)


# n, channels, (height, width), out_channels, kernel, stride, padding, dilation, groups, deform_groups
DEFORM_CASES = [
    (2, 6, (7, 9), 8, (3, 2), (2, 1), (1, 2), (1, 2), 2, 3),
    (1, 4, (5, 5), 4, (3, 3), 1, 1, 1, 1, 1),
    (3, 2, (4, 6), 3, (1, 1), 1, 0, 1, 1, 2),
]


def deform_inputs(n, channels, hw, out_channels, kernel, stride, padding, dilation, groups, deform_groups):
    out = [(s + 2 * p - d * (k - 1) - 1) // t + 1
           for s, k, t, p, d in zip(hw, kernel, _pair(stride), _pair(padding), _pair(dilation))]
    taps = deform_groups * math.prod(kernel)
    return dict(x=randn(n, channels, *hw),
                offset=randn(n, 2 * taps, *out, seed=1) * 2,
                mask=rand(n, taps, *out, seed=2),
                weight=randn(out_channels, channels // groups, *kernel, seed=3),
                bias=randn(out_channels, seed=4))


# Offsets of whole pixels put taps on the kinks of bilinear sampling; a new deformable layer begins with 0.
@pytest.mark.parametrize('offsets', ['any', 'whole', 'zero'])
@pytest.mark.parametrize('case', DEFORM_CASES)
def test_deform_conv(device, case, offsets):
    inputs = deform_inputs(*case)
    inputs['offset'] = {'any': inputs['offset'], 'whole': inputs['offset'].round(),
                        'zero': torch.zeros_like(inputs['offset'])}[offsets]
    settings = case[5:]
    geometry = [_pair(v) for v in settings[:3]] + list(settings[3:])
    assert_same(lambda x, o, w: mmcv_ops.deform_conv2d(x, o, w, *settings),
                lambda x, o, w: plain_deform_conv(x, o, None, w, None, *geometry),
                [inputs[k] for k in ('x', 'offset', 'weight')], device)
    assert_same(lambda x, o, m, w, b: mmcv_ops.modulated_deform_conv2d(x, o, m, w, b, *settings),
                lambda x, o, m, w, b: plain_deform_conv(x, o, m, w, b, *geometry),
                list(inputs.values()), device)
    del inputs['bias']
    assert_same(lambda x, o, m, w: mmcv_ops.modulated_deform_conv2d(x, o, m, w, None, *settings),
                lambda x, o, m, w: plain_deform_conv(x, o, m, w, None, *geometry),
                list(inputs.values()), device)


def plain_focal_loss(x, target, weight, gamma, alpha):
    rows = []
    for row, label in zip(x, target.tolist()):
        for c, logit in enumerate(row):
            p = 1 / (1 + torch.exp(-logit))
            if c == label:
                loss = -alpha * (1 - p)**gamma * p.log()
            else:
                loss = -(1 - alpha) * p**gamma * (1 - p).log()
            rows.append(loss if weight is None else loss * weight[label])
    return torch.stack(rows).view_as(x)


@pytest.mark.parametrize('gamma, alpha', [(2., 0.25), (1.5, 0.6), (0., 0.5), (1., 1.)])
@pytest.mark.parametrize('weighted', [False, True])
def test_sigmoid_focal_loss(device_of_gpu_op, gamma, alpha, weighted):
    # The number of classes stands for background; mmcv's weight has no entry for it.
    target = torch.tensor([3, 0, 4, 1, 2, 4]) if weighted else torch.tensor([3, 0, 5, 1, 2, 5])
    weight = rand(5, seed=7) if weighted else None
    device = device_of_gpu_op
    assert_same(
        lambda x: mmcv_ops.sigmoid_focal_loss(x, target.to(device), gamma, alpha,
                                              None if weight is None else weight.to(device), 'sum'),
        lambda x: plain_focal_loss(x, target, weight, gamma, alpha).sum(), [randn(6, 5) * 3], device)


def test_sigmoid_focal_loss_of_saturated_logits():
    x = torch.tensor([[80., -80.]], requires_grad=True)
    output, grad = torch.zeros(1, 2), torch.zeros(1, 2)
    for target, expected in ((0, [0., 0.]), (1, [0.75 * 80, 0.25 * 80])):
        arguments = (x.detach(), torch.tensor([target]), torch.empty(0))
        stand_in.sigmoid_focal_loss_forward(*arguments, output, gamma=2., alpha=0.25)
        stand_in.sigmoid_focal_loss_backward(*arguments, grad, gamma=2., alpha=0.25)
        torch.testing.assert_close(output, torch.tensor([expected]))
        torch.testing.assert_close(grad, torch.tensor([[0.75, -0.25] if target else [0., 0.]]))


REFUSED = {
    'roi_align': lambda: mmcv_ops.roi_align(randn(1, 2, 5, 5), ROIS[:1], (2, 2), 1., 0, 'max', True),
    'bbox_overlaps': lambda: mmcv_ops.bbox_overlaps(random_boxes(3), random_boxes(3), mode='iof'),
    'sigmoid_focal_loss': lambda: mmcv_ops.sigmoid_focal_loss(randn(2, 3), torch.tensor([0, 1]), 0.5, 0.25),
    'softnms': lambda: mmcv_ops.soft_nms(random_boxes(3), torch.rand(3)),
}


@pytest.mark.parametrize('op', REFUSED)
def test_what_torchvision_cannot_do_raises_and_says_how_to_get_it(op, monkeypatch):
    for name in MODULES:
        monkeypatch.setattr(sys.modules[f'mmcv.ops.{name}'], 'ext_module', stand_in)
    with pytest.raises(NotImplementedError, match=f"'{op}'.*MMCV_WITH_OPS=1 .* --no-build-isolation"):
        REFUSED[op]()


def test_aligned_overlaps_are_refused():
    boxes = random_boxes(3)
    with pytest.raises(NotImplementedError, match='bbox_overlaps'):
        stand_in.bbox_overlaps(boxes, boxes, torch.zeros(3), mode=0, aligned=True, offset=0)


def test_every_operator_name_answers_and_no_name_of_pythons():
    assert hasattr(stand_in, 'ms_deform_attn_forward')
    assert not hasattr(stand_in, '__wrapped__') and not hasattr(stand_in, '_ipython_display_')
