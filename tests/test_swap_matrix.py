"""The swaps of docs/swap.md, read from that page: each builds, takes a training step and predicts."""

import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.logging import MessageHub, MMLogger
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import OptimWrapper
from mmengine.registry import MODELS, DefaultScope, init_default_scope
from mmengine.structures import InstanceData, PixelData

from mobileode_mm.backbones import SolverConv, replacement
from mobileode_mm.compat.mmcv_ops import ops_in_use  # before mmdet, whose models need mmcv's operators

PAGE = Path(__file__).parents[1] / 'docs' / 'swap.md'
TOOLBOXES = ('mmdet', 'mmseg', 'mmpretrain')


class Swap(NamedTuple):
    toolbox: str
    model: str
    config: str
    lines: str
    operator: str | None

    def text(self, qualified: bool = False) -> str:
        """The config that the page's row stands for, with the bare or the qualified name of the backbone."""
        imports, lines = "custom_imports = dict(imports=['mobileode_mm'])", self.lines
        if qualified:
            imports, lines = '', re.sub("type='(?=Mobile(ODE|ViTODE))", "type='mobileode_mm.", self.lines)
            assert lines != self.lines
        return f"_base_ = '{self.toolbox}::{self.config}'\n{imports}\nmodel = dict({lines})\n"


def read_page():
    swaps, toolbox = [], None
    for line in PAGE.read_text().splitlines():
        if line.startswith('## '):
            toolbox = line[3:] if line[3:] in TOOLBOXES else None
        cells = [cell.strip() for cell in line.strip().strip('|').split('|')]
        if toolbox is None or len(cells) != 3 or not cells[1].endswith('.py`'):
            continue
        model, operator = re.fullmatch(r'(.+?)(?: \(operator `(\w+)`\))?', cells[0]).groups()
        lines = '\n    '.join(part.strip('`') for part in cells[2].split('<br>'))
        swaps.append(Swap(toolbox, model, cells[1].strip('`'), lines, operator))
    return swaps


SWAPS = read_page()


def named(swap):
    return f'{swap.toolbox}-{swap.model}'


def swap_of(model):
    swap, = (swap for swap in SWAPS if swap.model == model)
    return swap


@pytest.fixture(autouse=True)
def scope_and_log_level_restored():
    """The default scope and the log are the process's: other tests get theirs back."""
    scope, logger = DefaultScope.get_current_instance(), MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel('WARNING')  # init_weights tells of every parameter
    yield
    logger.setLevel(level)
    if scope is not None:
        init_default_scope(scope.scope_name)


def load(text, folder):
    path = folder / 'swapped.py'
    path.write_text(text)
    cfg = Config.fromfile(path)
    init_default_scope(cfg.default_scope)
    return cfg


def build(cfg):
    """As the Runner builds: from the root registry, synchronised norms reverted in a single process."""
    torch.manual_seed(0)
    return revert_sync_batchnorm(MODELS.build(cfg.model))


def downloads(model):
    """Checkpoints that init_weights would fetch."""
    init_cfgs = [getattr(module, 'init_cfg', None) or [] for module in model.modules()]
    flat = [cfg for cfgs in init_cfgs for cfg in (cfgs if isinstance(cfgs, (list, tuple)) else [cfgs])]
    return [cfg for cfg in flat if cfg['type'] == 'Pretrained']


def read_cos_conv_table():
    """The rows of the page's section on COSConv: the swap, and what the last two columns say."""
    section = PAGE.read_text().split('## COS in place')[1].split('\n## ')[0]
    rows = []
    for line in section.splitlines():
        cells = [cell.strip() for cell in line.strip('|').split('|')]
        if cells[0] in TOOLBOXES:
            lines = '\n    '.join(part.strip('`') for part in cells[2].split('<br>'))
            swap = Swap(cells[0], Path(cells[1].strip('`')).stem, cells[1].strip('`'), lines, None)
            rows.append((swap, *(int(cell.replace(',', '')) for cell in cells[3:])))
    return rows


def images(height, width):
    return [torch.randint(256, (3, height, width), dtype=torch.uint8) for _ in range(2)]


def detection_batch(size):
    from mmdet.structures import DetDataSample
    samples = []
    for number in range(2):
        sample = DetDataSample(metainfo=dict(img_shape=size, ori_shape=size, scale_factor=(1.0, 1.0), img_id=number))
        boxes = torch.tensor([[0.1, 0.1, 0.6, 0.7], [0.4, 0.5, 0.9, 0.9]]) * torch.tensor([*size[::-1], *size[::-1]])
        sample.gt_instances = InstanceData(bboxes=boxes, labels=torch.tensor([3, 17 + number]))
        samples.append(sample)
    return samples


def segmentation_batch(size):
    from mmseg.structures import SegDataSample
    samples = []
    for _ in range(2):
        sample = SegDataSample(metainfo=dict(img_shape=size, ori_shape=size))
        sample.gt_sem_seg = PixelData(data=torch.randint(19, (1, *size)))
        samples.append(sample)
    return samples


def classification_batch(size):
    from mmpretrain.structures import DataSample
    return [DataSample().set_gt_label(number) for number in (3, 7)]


def check_detections(results, model, size):
    for result in results:
        found = result.pred_instances
        assert len(found) > 0 and found.bboxes.shape == (len(found), 4)
        assert found.scores.shape == found.labels.shape == (len(found), )
        assert found.bboxes.isfinite().all() and 0 <= found.scores.min() and found.scores.max() <= 1
        assert 0 <= found.labels.min() and found.labels.max() < 80


def check_segmentations(results, model, size):
    classes = model.decode_head.num_classes
    for result in results:
        assert result.seg_logits.data.shape == (classes, *size) and result.seg_logits.data.isfinite().all()
        labels = result.pred_sem_seg.data
        assert labels.shape == (1, *size) and 0 <= labels.min() and labels.max() < classes


def check_classifications(results, model, size):
    for result in results:
        assert result.pred_score.shape == (model.head.num_classes, )
        assert result.pred_score.sum() == pytest.approx(1, abs=1e-4)
        assert result.pred_label.item() == result.pred_score.argmax()


BATCHES = dict(mmdet=detection_batch, mmseg=segmentation_batch, mmpretrain=classification_batch)
CHECKS = dict(mmdet=check_detections, mmseg=check_segmentations, mmpretrain=check_classifications)
# What cannot be 64×96: SSD300's last convolutions are not padded, LRASPP pools 49×49 positions of stride 8.
SIZES = {'SSD300': (300, 300), 'LRASPP': (392, 392), 'linear head, CIFAR-10': (32, 32)}


def fit_to_data(cfg, size):
    """Size and threshold that are the data's, not the network's."""
    if cfg.default_scope == 'mmseg':
        cfg.model.data_preprocessor.size = size  # random crops are padded to this
    if cfg.default_scope == 'mmdet':
        test_cfg = cfg.model.test_cfg
        test_cfg.get('rcnn', test_cfg).score_thr = 0.0  # an untrained detector finds something too


def collated(inputs, samples):
    return pseudo_collate([dict(inputs=x, data_samples=sample) for x, sample in zip(inputs, samples)])


def train_step(model, batch):
    """Losses, gradients of the backbone and a step; returns the loss."""
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=1e-4))
    model.train()
    MessageHub.get_current_instance().update_info('iter', 0)  # the Runner's; YOLOX changes its image size by it
    losses = model(**model.data_preprocessor(batch, training=True), mode='loss')
    loss, _ = model.parse_losses(losses)
    wrapper.backward(loss)
    for name, parameter in model.backbone.named_parameters():
        assert parameter.grad is not None, f'{name} has no gradient'
        assert parameter.grad.isfinite().all() and parameter.grad.any(), name
    before = {name: parameter.clone() for name, parameter in model.backbone.named_parameters()}
    wrapper.step()
    assert any(not torch.equal(parameter, before[name]) for name, parameter in model.backbone.named_parameters())
    return loss


def trained_and_asked(swap, cfg, expected=None):
    """Everything the matrix asserts of a swap; its model, whose backbone is of the class ``expected``."""
    size = SIZES.get(swap.model, (64, 96))
    fit_to_data(cfg, size)
    model = build(cfg)
    assert downloads(model) == []
    model.init_weights()
    expected = expected or re.search(r"type='(\w+)'", swap.lines)[1]
    assert type(model.backbone).__name__ == expected and type(model).__module__.startswith(f'{swap.toolbox}.')
    batch = collated(images(*size), BATCHES[swap.toolbox](size))
    loss = train_step(model, batch)
    assert loss.isfinite() and loss > 0
    model.eval()
    with torch.no_grad():
        results = model.test_step(batch)
    assert len(results) == 2
    CHECKS[swap.toolbox](results, model, size)
    return model


@pytest.mark.parametrize('swap, replaced, fewer', [
    pytest.param(*row, id=named(row[0])) for row in read_cos_conv_table()])
def test_cos_in_place_of_convolutions(swap, replaced, fewer, tmp_path):
    """Backbones, necks and heads of the toolboxes with the solver where it fits; the page says how many."""
    cfg = load(swap.text(), tmp_path)
    if cfg.model.backbone.type == 'ResNet':
        cfg.model.backbone.zero_init_residual = False  # or no gradient reaches the inside of its blocks at first
    model = trained_and_asked(swap, cfg, cfg.model.backbone.type)
    found = re.match(r'COSConv in the place of (\d+) 1×1 .* ([\d,]+) fewer', replacement(model))
    assert (int(found[1]), int(found[2].replace(',', ''))) == (replaced, fewer)
    assert replaced == sum(isinstance(module, SolverConv) for module in model.modules())
    # Beside the solvers, the network is the one without them.
    without = swap.lines.replace("conv_cfg=dict(type='COSConv', norm='channel')", 'conv_cfg=None')
    plain = build(load(swap._replace(lines=without).text(), tmp_path))
    counts = [sum(parameter.numel() for parameter in network.parameters()) for network in (plain, model)]
    assert counts[0] - counts[1] == fewer


@pytest.mark.parametrize('swap', SWAPS, ids=named)
def test_swap(swap, tmp_path):
    cfg = load(swap.text(), tmp_path)
    assert cfg.default_scope == swap.toolbox
    if swap.operator and ops_in_use() != 'compiled':
        with pytest.raises(NotImplementedError, match=f"operator '{swap.operator}"):
            trained_and_asked(swap, cfg)
        pytest.skip(f"{swap.model} needs mmcv's compiled operator {swap.operator}, which this mmcv does not have")
    trained_and_asked(swap, cfg)


@pytest.mark.parametrize('swap', SWAPS, ids=named)
def test_the_qualified_name_builds_the_same(swap, tmp_path):
    with torch.device('meta'):  # names and shapes are asked for, no numbers
        bare, qualified = (build(load(swap.text(qualified), tmp_path)) for qualified in (False, True))
    assert type(bare.backbone) is type(qualified.backbone)
    assert {k: v.shape for k, v in bare.state_dict().items()} == {k: v.shape for k, v in qualified.state_dict().items()}


FRESH = """
import sys
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
assert 'mobileode_mm' not in sys.modules
cfg = Config.fromfile(sys.argv[1])
init_default_scope(cfg.default_scope)
model = MODELS.build(cfg.model)
model.init_weights()
print(type(model.backbone).__module__)
"""


@pytest.mark.parametrize('model, qualified', [('RetinaNet', False), ('RetinaNet', True), ('PSPNet', True),
                                              ('linear head', True)])
def test_a_fresh_process_knows_the_name(model, qualified, tmp_path):
    """As a toolbox's own script does it, which knows nothing of this package."""
    if model == 'RetinaNet' and qualified and ops_in_use() != 'compiled':
        pytest.skip('mmdet is imported before the package here, and then needs mmcv with its compiled operators (nms)')
    text = swap_of(model).text(qualified)
    if model == 'PSPNet':  # by the page's line for such a script
        text = text.replace("'mmseg::", "__import__('mobileode_mm') and 'mmseg::")
        assert text.splitlines()[0] in PAGE.read_text()
    (tmp_path / 'swapped.py').write_text(text)
    done = subprocess.run([sys.executable, '-c', FRESH, tmp_path / 'swapped.py'], capture_output=True, text=True,
                          cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == 'mobileode_mm.backbones.mobileode'


def test_the_page_shows_what_was_asked_for():
    models = {toolbox: {swap.model for swap in SWAPS if swap.toolbox == toolbox} for toolbox in TOOLBOXES}
    assert models['mmdet'] >= {'RetinaNet', 'FCOS', 'ATSS', 'Faster R-CNN', 'YOLOX', 'YOLOF', 'SSD300', 'SSDLite'}
    assert models['mmseg'] >= {'PSPNet', 'FCN', 'LRASPP', 'UPerNet', 'DeepLabV3+'}
    assert models['mmpretrain'] >= {'linear head', 'stacked head'}


def without_arguments_of_the_swap(cfg):
    model = cfg.model.to_dict()
    for part in [model, *(part for part in model.values() if isinstance(part, dict))]:
        for name in ('backbone', 'pretrained', 'in_channels', 'c1_in_channels'):
            part.pop(name, None)
    return model


@pytest.mark.parametrize('swap', [swap for swap in SWAPS if not swap.model.startswith('SSD')], ids=named)
def test_only_the_backbone_and_its_widths_are_changed(swap, tmp_path):
    swapped = load(swap.text(), tmp_path)
    stock = load(swap.text().split('custom_imports')[0], tmp_path)
    assert without_arguments_of_the_swap(swapped) == without_arguments_of_the_swap(stock)


@pytest.mark.parametrize('model', ['SSD300', 'SSDLite'])
def test_the_stock_ssd_head_trains_as_well(model, tmp_path):
    swap = swap_of(model)
    lines = swap.lines.replace("type='mobileode_mm.detection.SSDLiteHead', ", '')
    assert lines != swap.lines
    swap = swap._replace(lines=lines)
    cfg = load(swap.text(), tmp_path)
    net = build(cfg)
    net.init_weights()
    assert type(net.bbox_head).__module__.startswith('mmdet.')
    size = SIZES.get(model, (64, 96))
    assert train_step(net, collated(images(*size), detection_batch(size))).isfinite()
    fixed = build(load(swap_of(model).text(), tmp_path))
    assert list(fixed.state_dict()) == list(net.state_dict())


def whole_configs():
    blocks = re.findall(r'```python\n(_base_[^`]*model = .*?)```', PAGE.read_text(), re.DOTALL)
    assert len(blocks) == 3
    return blocks


@pytest.mark.parametrize('number', range(2))
def test_the_pages_whole_configs_are_rows_of_its_tables(number, tmp_path):
    block = whole_configs()[number]
    shown = load(block, tmp_path)
    assert any(shown.model == load(swap.text(), tmp_path).model for swap in SWAPS if swap.config in block)


def test_mmdets_rtmdet_as_a_detector_of_ours(tmp_path):
    """The page's config has the parts and names of mmdet's RTMDet, and a deploy form that gives the same."""
    text = whole_configs()[2]
    net = build(load(text, tmp_path))
    theirs = build(load(text.replace("    type='mobileode_mm.detection.FittedDetector',\n", ''), tmp_path))
    assert type(theirs).__name__ == 'RTMDet' and [*theirs.state_dict()] == [*net.state_dict()]
    net.eval()
    pixels = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        expected = net(pixels, mode='tensor')
        net.switch_to_deploy((64, 96))
        found = net(pixels, mode='tensor')
    for one, other in zip(sum(map(list, expected), []), sum(map(list, found), []), strict=True):
        assert torch.allclose(one, other, atol=1e-4)


def test_the_pages_widths_and_strides():
    table = dict(re.findall(r'^    \| (?:`(?=\w))?(stride|Mobile\w+)`? \|(.*)\|$', PAGE.read_text(), re.MULTILINE))
    table = {name: tuple(map(int, cells.split('|'))) for name, cells in table.items()}
    strides = table.pop('stride')
    assert set(table) == {'MobileODEV1', 'MobileODEV2', 'MobileViTODE', 'MobileNetV1'}
    for name, widths in table.items():
        backbone = MODELS.get(name)(out_indices=range(6))
        assert (backbone.out_channels, backbone.strides) == (widths, strides)
