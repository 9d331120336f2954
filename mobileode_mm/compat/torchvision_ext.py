"""The stand-in for ``mmcv._ext``: mmcv's operators, computed by torchvision's.

`mmcv_ops` loads this file under the name ``mmcv._ext`` where mmcv was installed without its compiled
extension. Every function here carries the name, the arguments and the in-place results of the compiled
function it stands for, as ``mmcv/ops/*.py`` calls it. Every other name answers with a function that raises,
because mmcv asks with ``hasattr`` for all its operators when they are imported, and needs few of them
afterwards.
"""

import torch
import torchvision
from mmengine.logging import print_log

from mobileode_mm.compat.mmcv_ops import compile_command

_tv = torch.ops.torchvision

if __name__ == 'mmcv._ext':
    print_log(
        'mmcv has no compiled operators here: nms, roi_align, roi_pool, deformable convolution, sigmoid '
        'focal loss and bbox_overlaps come from torchvision, any other mmcv operator raises when called.',
        logger='current')


def _refuse(op: str, why: str):
    raise NotImplementedError(
        f"mmcv's operator '{op}' {why}, and this mmcv was installed without its compiled operators. "
        f'To compile them (20 minutes or so on 2 cores, torch installed first): {compile_command()}')


def __getattr__(name: str):
    if name.startswith('_'):  # what Python itself asks a module for is no operator
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')

    def absent(*args, **kwargs):
        _refuse(name, 'has no counterpart in torchvision')

    return absent


def get_compiler_version() -> str:
    return 'n/a'


def get_compiling_cuda_version() -> str:
    return 'n/a'


def nms(boxes, scores, iou_threshold, offset):
    """Indices kept, by falling score. ``offset`` is added to every width and height."""
    if offset:
        boxes = torch.cat([boxes[:, :2], boxes[:, 2:] + offset], dim=1)
    # mmcv takes the threshold as a C float, torchvision as a double, which an overlap of 0.6f exceeds.
    iou_threshold = torch.tensor(iou_threshold, dtype=torch.float32).item()
    return _tv.nms(boxes, scores, iou_threshold)


def bbox_overlaps(bboxes1, bboxes2, ious, mode, aligned, offset):
    """Fills ``ious`` (m, n)."""
    if mode != 0 or aligned:
        _refuse('bbox_overlaps', "has no counterpart in torchvision for mode='iof' or aligned=True")
    if offset:
        bboxes1, bboxes2 = (torch.cat([b[:, :2], b[:, 2:] + offset], dim=1) for b in (bboxes1, bboxes2))
    ious.copy_(torchvision.ops.box_iou(bboxes1, bboxes2))


def _check_roi_align(rois, pool_mode, aligned):
    if pool_mode != 1:
        _refuse('roi_align', "has no counterpart in torchvision for pool_mode='max'")
    # mmcv's CPU kernel checks this, its CUDA kernel does not (the check would wait for the device).
    if aligned and not rois.is_cuda and bool((rois[:, 3:] < rois[:, 1:3]).any()):
        raise RuntimeError('roi_align: a RoI (index, x1, y1, x2, y2) has x2 < x1 or y2 < y1')


def roi_align_forward(input, rois, output, argmax_y, argmax_x, aligned_height, aligned_width, spatial_scale,
                      sampling_ratio, pool_mode, aligned):
    """Fills ``output`` (rois, channels, aligned_height, aligned_width)."""
    _check_roi_align(rois, pool_mode, aligned)
    output.copy_(
        _tv.roi_align(input, rois, spatial_scale, aligned_height, aligned_width, sampling_ratio, aligned))


def roi_align_backward(grad_output, rois, argmax_y, argmax_x, grad_input, aligned_height, aligned_width,
                       spatial_scale, sampling_ratio, pool_mode, aligned):
    """Fills ``grad_input``, of the input's shape."""
    _check_roi_align(rois, pool_mode, aligned)
    grad_input.copy_(
        _tv._roi_align_backward(grad_output, rois, spatial_scale, aligned_height, aligned_width,
                                *grad_input.shape, sampling_ratio, aligned))


def roi_pool_forward(input, rois, output, argmax, pooled_height, pooled_width, spatial_scale):
    """Fills ``output`` (rois, channels, h, w) and ``argmax``, row * width + column or -1 for an empty bin.

    torchvision rounds the scaled box to whole pixels and then divides it into bins; mmcv divides first, and
    counts the box's last pixel before scaling. So mmcv's bins are worked out here, and each goes to
    torchvision's operator as a box of whole pixels, pooled to one value. A box without extent gives 0 and
    passes no gradient on (the compiled operator gives 0 too, but then adds that bin's gradient to the
    image's first pixel).
    """

    def bins(start, end, count, limit):
        steps = torch.arange(count + 1, device=rois.device, dtype=rois.dtype)
        edges = steps * ((end - start) / count)[:, None] + start[:, None]
        return edges[:, :-1].floor().clamp(0, limit), edges[:, 1:].ceil().clamp(0, limit)

    height, width = input.shape[2:]
    shape = (len(rois), pooled_height, pooled_width)
    x1, y1 = (rois[:, 1:3] * spatial_scale).unbind(1)
    x2, y2 = ((rois[:, 3:] + 1) * spatial_scale).unbind(1)
    left, right = (edge[:, None, :].expand(shape) for edge in bins(x1, x2, pooled_width, width))
    top, bottom = (edge[:, :, None].expand(shape) for edge in bins(y1, y2, pooled_height, height))
    flat = ((x2 <= x1) | (y2 <= y1))[:, None, None]
    empty = (flat | (right <= left) | (bottom <= top))[:, None]

    index = rois[:, 0, None, None].expand(shape)
    boxes = torch.stack([index, left, top, right - 1, bottom - 1], dim=-1).reshape(-1, 5)
    values, places = (t.reshape(*shape, input.size(1)).permute(0, 3, 1, 2)
                      for t in _tv.roi_pool(input, boxes, 1., 1, 1))
    output.copy_(values.masked_fill(empty, 0))
    argmax.copy_(places.masked_fill(empty, -1))


def roi_pool_backward(grad_output, rois, argmax, grad_input, pooled_height, pooled_width, spatial_scale):
    """Fills ``grad_input``, of the input's shape."""
    grad_input.copy_(
        _tv._roi_pool_backward(grad_output, rois, argmax, spatial_scale, pooled_height, pooled_width,
                               *grad_input.shape))


def _deform_backward(grad_output, input, weight, offset, mask, bias, kernel, stride, padding, dilation, group,
                     deformable_group, use_mask):
    """Gradients of input, weight, offset, mask, bias.

    Where a kernel tap lies exactly at -1, one pixel outside the image, bilinear sampling has a kink: mmcv
    takes the outer slope, 0, and torchvision the inner one. A deformable layer begins with offsets of 0 and
    so with many such taps, hence mmcv's choice is restored.
    """
    grads = list(
        _tv._deform_conv2d_backward(grad_output, input, weight, offset, mask, bias, *stride, *padding,
                                    *dilation, group, deformable_group, use_mask))
    shape = (offset.size(0), deformable_group, *kernel, 2, *offset.shape[2:])
    at_kink = torch.empty(shape, dtype=torch.bool, device=offset.device)
    for axis in (0, 1):
        taps = torch.arange(kernel[axis], device=offset.device) * dilation[axis]
        starts = torch.arange(shape[-2 + axis], device=offset.device) * stride[axis] - padding[axis]
        view = [1, 1, 1, 1, 1, 1]
        view[2 + axis], view[4 + axis] = len(taps), len(starts)
        grid = (taps[:, None] + starts).view(view)
        at_kink[:, :, :, :, axis] = grid + offset.view(shape)[:, :, :, :, axis] == -1
    grads[2] = grads[2].masked_fill(at_kink.view_as(offset), 0)
    return grads


def deform_conv_forward(input, weight, offset, output, columns, ones, kW, kH, dW, dH, padW, padH, dilationW,
                        dilationH, group, deformable_group, im2col_step):
    """Fills ``output``. ``columns`` and ``ones`` are the compiled operator's workspace."""
    output.copy_(
        _tv.deform_conv2d(input, weight, offset, input.new_zeros(len(input), 1), input.new_zeros(len(weight)),
                          dH, dW, padH, padW, dilationH, dilationW, group, deformable_group, False))


def deform_conv_backward_input(input, offset, gradOutput, gradInput, gradOffset, weight, columns, kW, kH, dW,
                               dH, padW, padH, dilationW, dilationH, group, deformable_group, im2col_step):
    """Fills ``gradInput`` and ``gradOffset``."""
    grads = _deform_backward(gradOutput, input, weight, offset, input.new_zeros(len(input), 1),
                             input.new_zeros(len(weight)), (kH, kW), (dH, dW), (padH, padW),
                             (dilationH, dilationW), group, deformable_group, False)
    gradInput.copy_(grads[0])
    gradOffset.copy_(grads[2])


def deform_conv_backward_parameters(input, offset, gradOutput, gradWeight, columns, ones, kW, kH, dW, dH,
                                    padW, padH, dilationW, dilationH, group, deformable_group, scale,
                                    im2col_step):
    """Adds ``scale`` times the weight's gradient to ``gradWeight``."""
    # The weight's gradient does not depend on its value: gradWeight serves for the shape.
    grads = _deform_backward(gradOutput, input, gradWeight, offset, input.new_zeros(len(input), 1),
                             input.new_zeros(len(gradWeight)), (kH, kW), (dH, dW), (padH, padW),
                             (dilationH, dilationW), group, deformable_group, False)
    gradWeight.add_(grads[1], alpha=scale)


def modulated_deform_conv_forward(input, weight, bias, ones, offset, mask, output, columns, kernel_h,
                                  kernel_w, stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, group,
                                  deformable_group, with_bias):
    """Fills ``output``. ``bias`` is an empty tensor unless ``with_bias``."""
    if not with_bias:
        bias = input.new_zeros(len(weight))
    output.copy_(
        _tv.deform_conv2d(input, weight, offset, mask, bias, stride_h, stride_w, pad_h, pad_w, dilation_h,
                          dilation_w, group, deformable_group, True))


def modulated_deform_conv_backward(input, weight, bias, ones, offset, mask, columns, grad_input, grad_weight,
                                   grad_bias, grad_offset, grad_mask, grad_output, kernel_h, kernel_w,
                                   stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, group,
                                   deformable_group, with_bias):
    """Fills the five gradients, ``grad_bias`` only ``with_bias``."""
    if not with_bias:
        bias = input.new_zeros(len(weight))
    grads = _deform_backward(grad_output, input, weight, offset, mask, bias, (kernel_h, kernel_w),
                             (stride_h, stride_w), (pad_h, pad_w), (dilation_h, dilation_w), group,
                             deformable_group, True)
    for target, grad in zip((grad_input, grad_weight, grad_offset, grad_mask), grads):
        target.copy_(grad)
    if with_bias:
        grad_bias.copy_(grads[4])


def _sigmoid_focal_loss(input, target, weight, gamma, alpha):
    """(samples, classes); ``target`` holds class numbers, the number of classes itself meaning background."""
    if not 0 <= alpha <= 1 or gamma < 0 or 0 < gamma < 1:
        # gamma between 0 and 1: the gradient torchvision's formula leads to is NaN at a saturated logit.
        _refuse('sigmoid_focal_loss', f'has no counterpart in torchvision for gamma={gamma}, alpha={alpha}')
    classes = torch.arange(input.size(1), device=input.device)
    one_hot = (target[:, None] == classes).to(input.dtype)
    loss = torchvision.ops.sigmoid_focal_loss(input, one_hot, alpha=alpha, gamma=gamma, reduction='none')
    return loss * weight.index_select(0, target)[:, None] if len(weight) else loss


def sigmoid_focal_loss_forward(input, target, weight, output, gamma, alpha):
    """Fills ``output``, of the input's shape. ``weight`` is empty or holds one factor a class."""
    output.copy_(_sigmoid_focal_loss(input, target, weight, gamma, alpha))


def sigmoid_focal_loss_backward(input, target, weight, grad_input, gamma, alpha):
    """Fills ``grad_input`` with the derivative of every entry of the loss by its own logit."""
    with torch.enable_grad():
        input = input.detach().requires_grad_()
        loss = _sigmoid_focal_loss(input, target, weight, gamma, alpha)
        grad_input.copy_(torch.autograd.grad(loss.sum(), input)[0])
