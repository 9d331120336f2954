"""Weights of the released program (on Apple's ml-cvnets) under this library's names."""

import os
import re
from pathlib import Path

import torch
from torch import Tensor, nn

from ..errors import InputError, listed
from .reading import read_file

RENAMES = tuple((re.compile(pattern), name) for pattern, name in (
    (r'^module\.', ''),
    (r'^conv_1\.', 'stem.'),
    (r'^layer_(\d+)\.', r'stage\1.'),
    (r'^conv_1x1_exp\.', 'stage6.'),
    # The hybrid's separable blocks have the names of residual ones.
    (r'^(stage\d+\.0)\.block\.conv_3x3\.', r'\1.depthwise_conv.'),
    (r'^(stage\d+\.0)\.block\.red_1x1\.', r'\1.pointwise_conv.'),
    (r'\blocal_rep\.conv_3x3\.', 'local.'),
    (r'\blocal_rep\.conv_1x1\.', 'embed.'),
    (r'\bglobal_rep\.', 'transformer.'),
    (r'\bpre_norm_mha\.0\.', 'norm1.'),
    (r'\bpre_norm_mha\.1\.qkv_proj\.', 'qkv.'),
    (r'\bpre_norm_mha\.1\.out_proj\.', 'project.'),
    (r'\bpre_norm_ffn\.0\.', 'norm2.'),
    (r'\bpre_norm_ffn\.1\.', 'expand.'),
    (r'\bpre_norm_ffn\.4\.', 'reduce.'),
    (r'\bconv_proj\.', 'project.'),
    (r'\bfusion\.', 'fuse.'),
    (r'\bdw_conv\.', 'depthwise_conv.'),
    (r'\bpw_conv\.', 'pointwise_conv.'),
    (r'\bblock\.conv_3x3\.', 'depthwise.'),
    (r'\bblock\.exp_1x1\.0\.', 'expand.solver.'),
    (r'\bblock\.exp_1x1\.1\.', 'expand.bn.'),
    (r'\bblock\.red_1x1\.0\.', 'project.solver.'),
    (r'\bblock\.red_1x1\.1\.', 'project.bn.'),
    (r'\bblock\.conv\.', 'conv.'),
    (r'\bblock\.norm\.', 'bn.'),
    (r'\bsigma\.0\.', 'norm.'),
    (r'^classifier\.(classifier_)?fc\.', 'head.fc.'),
))


def rename_cvnets_entries(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Entries of a released network, block or layer under our names and in our shapes.

    K (L, 1, 1, q, q) becomes (L, q, q); δ (L, 1) becomes (L,); a position norm's flat H·W values become a square grid.
    Entries that have no counterpart keep their name: whoever loads them finds them unexpected.
    """
    renamed = {}
    for name, value in state.items():
        for pattern, replacement in RENAMES:
            name = pattern.sub(replacement, name)
        last = name.rsplit('.', 1)[-1]
        side = round(value.numel() ** 0.5)
        if last == 'matrices':
            value = value.flatten(0, -3)
        elif last == 'delta_t':
            value = value.flatten()
        elif re.search(r'(^|\.)norm\.', name) and value.dim() == 1 and side * side == value.numel():
            value = value.reshape(side, side)
        renamed[name] = value
    return renamed


def convert_cvnets_classifier(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict]:
    """A released classifier's state dict as one for mmpretrain's ImageClassifier with a linear head.

    Network (V1, V2 or the MobileViT hybrid), steps, classes and grids are read off the entries; then every key and
    shape is checked against the network that they name.

    Returns:
        The converted state dict (``backbone.*`` and ``head.fc.*``), and the config of the backbone it fits. The image
        size is that of the usual strides; CIFAR's strides give the same entries at a quarter of it.

    Raises:
        InputError: A key or shape does not fit; the message lists them.
    """
    from ..backbones import MobileODEV1, MobileODEV2, MobileViTODE
    entries = rename_cvnets_entries(state)
    if 'stage5.1.embed.conv.weight' in entries:
        network, stages = MobileViTODE, range(2, 5)
    else:
        network = MobileODEV2 if 'stage2.1.expand.solver.matrices' in entries else MobileODEV1
        stages = range(2, 6)
    needed = [f'stage{stage}.1.project.solver.{part}' for stage in stages for part in ('delta_t', 'norm.weight')]
    absent = [name for name in (*needed, 'head.fc.weight') if name not in entries]
    if absent:
        raise InputError('not a released MobileODE classifier: nothing in the file corresponds to '
                         f'{listed(absent)}')
    cfg = dict(
        type=network.__name__,
        num_steps=tuple(len(entries[f'stage{stage}.1.project.solver.delta_t']) for stage in stages),
        input_size=4 * entries['stage2.1.project.solver.norm.weight'].shape[0])
    backbone = network(**{k: v for k, v in cfg.items() if k != 'type'})
    head = nn.Linear(backbone.out_channels[-1], len(entries['head.fc.weight']))
    expected = {**backbone.state_dict(), **{f'head.fc.{name}': value for name, value in head.state_dict().items()}}
    problems = [f'missing {name}' for name in expected if name not in entries]
    problems += [f'unexpected {name}' for name in entries if name not in expected]
    problems += [f'{name} is {tuple(entries[name].shape)} instead of {tuple(value.shape)}'
                 for name, value in expected.items() if name in entries and entries[name].shape != value.shape]
    if problems:
        raise InputError(f'the file does not fit {cfg["type"]}: {listed(problems)}')
    converted = {name if name.startswith('head.') else f'backbone.{name}': value for name, value in entries.items()}
    return converted, cfg


def convert_cvnets_file(source: str | os.PathLike, target: str | os.PathLike) -> dict:
    """Convert a released checkpoint file into an OpenMMLab one.

    Returns:
        Config of the backbone that the weights fit.

    Raises:
        InputError: ``source`` cannot be read or does not fit, or ``target`` exists.
    """
    source, target = Path(source), Path(target)
    if target.exists():
        raise InputError(f'{target} exists; choose another output or remove it')
    if not target.parent.is_dir():
        raise InputError(f'the folder {target.parent} of the output does not exist; make it first')
    if not source.is_file():
        raise InputError(f'{source} does not exist')
    try:
        checkpoint = read_file(source)
    except InputError as error:
        raise InputError(f'{source} cannot be read as a checkpoint of tensors: {error}') from None
    for key in ('model_state_dict', 'state_dict'):
        if isinstance(checkpoint, dict) and isinstance(checkpoint.get(key), dict):
            checkpoint = checkpoint[key]
    if not isinstance(checkpoint, dict) or not all(isinstance(value, Tensor) for value in checkpoint.values()):
        raise InputError(f'{source} holds no state dict of tensors')
    try:
        state, cfg = convert_cvnets_classifier(checkpoint)
    except InputError as error:
        raise InputError(f'{source}: {error}') from None
    partial = target.with_name(f'{target.name}.part')
    torch.save(dict(state_dict=state, meta=dict(backbone=cfg, source='released MobileODE program')), partial)
    os.replace(partial, target)
    return cfg
