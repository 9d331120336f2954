"""Exported files: what they compute, what they say of themselves, and what is refused."""
import ast
import functools
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip('onnxruntime', reason='the extra "deploy" is not installed')
pytest.importorskip('onnxscript', reason='the extra "deploy" is not installed')
import onnx  # noqa: E402
import onnxruntime  # noqa: E402

from benchmarks.speed.workloads import as_tuple  # noqa: E402
from mobileode_mm import MobileViTODE  # noqa: E402
from mobileode_mm.apis import Inferencer  # noqa: E402
from mobileode_mm.backbones.mobilevit_ode import MobileViTBlock  # noqa: E402
from mobileode_mm.cli import main  # noqa: E402
from mobileode_mm.deploy import export, exporting, parity  # noqa: E402
from mobileode_mm.deploy import tasks as networks
from mobileode_mm.deploy.formats import FORMATS, format_of, load, quiet  # noqa: E402
from mobileode_mm.deploy.inputs import samples  # noqa: E402
from mobileode_mm.deploy.nms import onnx_translations, suppress  # noqa: E402
from mobileode_mm.errors import InputError  # noqa: E402
from mobileode_mm.runs.checks import config_scope  # noqa: E402

ROOT = Path(__file__).parents[2]
NARROW = {'model.backbone.widen_factor': 0.25}
# Few maps and few steps: what takes long is the export of each operator.
TASKS = dict(
    detection=('ssdlite_mobileode_mini', dict(NARROW, **{'model.backbone.num_steps': 1})),
    segmentation=('deeplabv3_mobileode_mini', dict(NARROW, **{'model.backbone.num_steps': 1})),
    classification=('classify_mobileode_mini', dict(NARROW, **{'model.backbone.num_steps': 1})))
CLASSES = tuple('abcdefghij')


def config_of(task):
    name, options = TASKS[task]
    return ROOT / 'configs' / f'{name}.py', options


@pytest.fixture(scope='module')
def place(tmp_path_factory, save_untrained, smooth_noise):
    """Checkpoints of untrained networks with the norms of trained ones; no data."""
    folder = tmp_path_factory.mktemp('export')
    for task in TASKS:
        path, options = config_of(task)
        classes = ('ground', *CLASSES) if task == 'segmentation' else CLASSES
        save_untrained(path, options, folder / f'{task}.pth', classes)
    smooth_noise.save(folder / 'image.png')
    (folder / 'text.png').write_text('no image')
    return folder


@pytest.fixture(scope='module', autouse=True)
def no_data(tmp_path_factory):
    """As where the mini data were never made."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('MOBILEODE_DATA', str(tmp_path_factory.mktemp('nothing')))
        yield


@pytest.fixture(scope='module')
def made(place):
    """``made(task)``: a task in ONNX. Fixed size for detection; free batch and size; free batch."""
    settings = dict(detection=dict(with_nms=True), segmentation=dict(dynamic='both'),
                    classification=dict(dynamic='batch'))

    @functools.cache
    def make(task):
        config, options = config_of(task)
        return export(config, place / f'{task}.pth', place / f'{task}.onnx', cfg_options=options, **settings[task])

    return make


def inferencer_of(place, task):
    config, options = config_of(task)
    return Inferencer(config, place / f'{task}.pth', 'cpu', cfg_options=options, deploy=False)


def run_onnx(place, task, *arguments):
    """The stand-alone program, where neither torch nor this project can be imported."""
    code = ("import sys, runpy\n"
            "class Bar:\n"
            "    def find_spec(self, name, *_):\n"
            "        if name.split('.')[0] in ('torch', 'mobileode_mm', 'mmengine', 'mmcv', 'mmdet', 'cv2'):\n"
            "            raise ImportError(name)\n"
            "sys.meta_path.insert(0, Bar())\n"
            "sys.argv = sys.argv[1:]\n"
            "runpy.run_path(sys.argv[0], run_name='__main__')\n")
    return subprocess.run([sys.executable, '-c', code, str(ROOT / 'tools/deployment/run_onnx.py'),
                           str(place / f'{task}.onnx'), *map(str, arguments)], capture_output=True, text=True)


@pytest.mark.parametrize('task', [pytest.param('detection', marks=pytest.mark.slow),
                                  pytest.param('segmentation', marks=pytest.mark.slow), 'classification'])
def test_every_file_is_compared_and_describes_itself(made, task):
    exported = made(task)
    assert all(row.good for row in exported.rows)
    assert {'input', 'features'} < {row.quantity for row in exported.rows}
    # The classifier's pipeline takes images as they are.
    assert any('are resized' in line for line in exported.lines) == (task == 'classification')
    session = onnxruntime.InferenceSession(exported.path, providers=['CPUExecutionProvider'])
    meta = session.get_modelmeta().custom_metadata_map
    assert meta == exported.metadata and meta['task'] == task and meta['version'].startswith('mobileode_mm')
    assert json.loads(meta['classes'])[-10:] == list(CLASSES)
    assert json.loads(meta['normalisation'])['mean'] == pytest.approx([123.675, 116.28, 103.53])
    assert [output.name for output in session.get_outputs()] == json.loads(meta['outputs'])
    assert session.get_inputs()[0].type == 'tensor(uint8)'
    shape = dict(detection=[1, 192, 192, 3], segmentation=['batch', 'height', 'width', 3],
                 classification=['batch', 64, 64, 3])[task]
    assert session.get_inputs()[0].shape == shape


@pytest.mark.parametrize('takes_rgb', [False, True])
@pytest.mark.parametrize('swaps', [False, True])
@pytest.mark.parametrize('scope, name, switch', [
    ('mmdet', 'DetDataPreprocessor', 'bgr_to_rgb'), ('mmseg', 'SegDataPreProcessor', 'bgr_to_rgb'),
    ('mmpretrain', 'ClsDataPreprocessor', 'to_rgb')])
@pytest.mark.parametrize('numbers', [dict(mean=[10., 20., 30.], std=[1., 2., 3.]), {}], ids=['with', 'without'])
def test_the_input_is_the_preprocessors(scope, name, switch, swaps, takes_rgb, numbers):
    from mmengine.config import Config
    from mmengine.registry import MODELS
    if scope == 'mmseg':
        numbers = dict(numbers, size_divisor=1)
    with config_scope(Config(dict(default_scope=scope))):
        preprocessor = MODELS.build(dict(type=name, **{switch: swaps}, **numbers))
    image = torch.randint(0, 256, (2, 5, 4, 3), dtype=torch.uint8)
    given = image.permute(0, 3, 1, 2) if takes_rgb else image.permute(0, 3, 1, 2).flip(1)
    expected = preprocessor(dict(inputs=list(given)))['inputs']
    normalise = networks.Normalise(preprocessor, takes_rgb)
    torch.testing.assert_close(normalise(image), expected.float())


@pytest.mark.parametrize('nms', [
    dict(type='nms', iou_threshold=0.4), dict(iou_thr=0.4), dict(iou_threshold=0.4, class_agnostic=False, split_thr=7)])
def test_suppression_is_read_as_mmcv_reads_it(nms):
    how = networks.Suppression.of(dict(score_thr=0.02, nms_pre=10, nms=nms, max_per_img=5))
    assert how == networks.Suppression(0.4, 0.02, 10, -1, 5)


@pytest.mark.parametrize('nms', [None, dict(type='nms'), dict(type='soft_nms', iou_threshold=0.4),
                                 dict(type='nms', iou_threshold=0.4, class_agnostic=True),
                                 dict(type='nms', iou_threshold=0.4, max_num=7)])
def test_suppression_of_another_kind_is_refused(nms):
    with pytest.raises(InputError, match=re.escape(f'test_cfg.nms={nms}: only plain suppression')):
        networks.Suppression.of(dict(nms=nms, max_per_img=5))


@pytest.mark.slow
def test_a_detector_holds_decoding_and_suppression(made):
    operators = {node.op_type for node in onnx.load(made('detection').path).graph.node}
    assert {'NonMaxSuppression', 'Exp', 'Softmax'} <= operators
    assert 'not found' in [row.quantity for row in made('detection').rows]


@pytest.mark.slow
def test_a_segmentor_takes_any_batch_and_size(place, made):
    inferencer = inferencer_of(place, 'segmentation')
    task = networks.Segmentor(inferencer.model, inferencer.takes_rgb)
    session = onnxruntime.InferenceSession(made('segmentation').path, providers=['CPUExecutionProvider'])
    generator = torch.Generator().manual_seed(1)
    for shape in ((1, 96, 96, 3), (3, 70, 121, 3)):
        image = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
        mask, = session.run(None, {'image': image.numpy()})
        with torch.no_grad():
            expected, = task(image)
        assert mask.shape == shape[:3] and (mask != expected.numpy()).mean() < 0.01


@pytest.mark.parametrize('make', [
    lambda: MobileViTBlock(8, 12, num_layers=1, num_heads=2),
    pytest.param(lambda: MobileViTODE(widen_factor=0.25, num_steps=1, input_size=64, out_indices=(5, 6)),
                 marks=pytest.mark.slow)], ids=['block', 'network'])
def test_the_hybrid_takes_any_size(make, tmp_path):
    """Maps that are no multiple of the patch are resized in the file as in the network."""
    torch.manual_seed(0)
    module = make().eval()
    channels, stride = 8, 1
    if isinstance(module, MobileViTODE):
        module.switch_to_deploy()
        channels, stride = 3, 32
    free = torch.export.Dim.DYNAMIC
    x = torch.randn(2, channels, 3 * stride, 6 * stride)
    with torch.no_grad(), quiet():
        program = torch.export.export(module, (x, ), dynamic_shapes=({0: free, 2: free, 3: free}, ))
        torch.onnx.export(program, (x, ), dynamo=True, opset_version=18).save(tmp_path / 'hybrid.onnx')
    session = onnxruntime.InferenceSession(tmp_path / 'hybrid.onnx', providers=['CPUExecutionProvider'])
    for batch, height, width in ((1, 2, 2), (3, 3, 4), (2, 1, 5)):
        x = torch.randn(batch, channels, height * stride, width * stride - (stride > 1))
        with torch.no_grad():
            expected = as_tuple(module(x))
        found = session.run(None, {session.get_inputs()[0].name: x.numpy()})
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, other.numpy(), rtol=0, atol=1e-5 * float(other.abs().max()))


def test_the_program_for_robots_gives_the_classifiers_class(place, made):
    made('classification')
    done = run_onnx(place, 'classification', place / 'image.png')
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    # The mini images have the network's size; others are stretched to it.
    pixels = cv2.resize(cv2.imread(str(place / 'image.png')), (64, 64))
    scores = inferencer_of(place, 'classification')([pixels])[0].scores
    assert found['label'] == CLASSES[scores.argmax()] and found['score'] == pytest.approx(scores.max(), abs=0.02)


@pytest.mark.slow
def test_the_program_for_robots_finds_the_detectors_boxes(place, made):
    made('detection')
    done = run_onnx(place, 'detection', place / 'text.png', place / 'image.png', '--score-thr', 0.02)
    assert done.returncode == 1 and 'skipped' in done.stderr and 'text.png' in done.stderr
    assert_same_boxes(json.loads(done.stdout)['boxes'], inferencer_of(place, 'detection')([place / 'image.png'])[0])


@pytest.mark.slow
def test_the_program_for_robots_writes_the_segmentors_mask(place, made, tmp_path):
    made('segmentation')
    done = run_onnx(place, 'segmentation', place / 'image.png', '--masks', tmp_path)
    assert done.returncode == 0, done.stderr
    mask = np.asarray(Image.open(tmp_path / 'image.png'))
    pixels = json.loads(done.stdout)['pixels']
    assert mask.shape == (100, 150) and sum(pixels.values()) == mask.size
    expected = inferencer_of(place, 'segmentation')([place / 'image.png'])[0].labels
    # It resizes the mask, the toolbox the logits: borders differ.
    assert (mask == expected).mean() > 0.9


def test_onnxruntimes_own_quantisation_takes_a_file(made, smooth_noise):
    from onnxruntime.quantization import quantize_dynamic
    path, image = made('classification').path, np.asarray(smooth_noise.resize((64, 64)))[None]
    quantize_dynamic(path, out := path.with_name('dynamic.onnx'))
    assert np.abs(load(out, 'onnx')(image)[0] - load(path, 'onnx')(image)[0]).max() < 0.1


def test_the_program_for_robots_imports_no_more_than_it_says():
    tree = ast.parse((ROOT / 'tools/deployment/run_onnx.py').read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert names - set(sys.stdlib_module_names) == {'numpy', 'onnxruntime', 'PIL'}


@pytest.mark.parametrize('file_format, suffix', [
    ('torchscript', '.pt'), pytest.param('exported-program', '.pt2', marks=pytest.mark.slow)])
def test_pytorchs_own_formats(place, tmp_path, file_format, suffix):
    config, options = config_of('classification')
    out = tmp_path / f'network{suffix}'
    exported = export(config, place / 'classification.pth', out, file_format, dynamic='batch', cfg_options=options)
    assert all(row.good for row in exported.rows)
    extra = {'metadata.json': ''}
    if file_format == 'torchscript':
        loaded = torch.jit.load(out, _extra_files=extra)
    else:
        loaded = torch.export.load(out, extra_files=extra).module()
    assert json.loads(extra['metadata.json']) == exported.metadata
    assert loaded(torch.zeros(3, 64, 64, 3, dtype=torch.uint8))[0].shape == (3, 10)


def installed(file_format):
    """The format as a test's argument, which is skipped where its packages are not there."""
    one = FORMATS[file_format]
    missing = one.missing([*one.writes_with, *one.runs_with])
    return pytest.param(file_format, marks=pytest.mark.skipif(
        bool(missing), reason=f'{", ".join(missing)} is not installed (the extra "{one.extra}")'))


def check(place, out, capsys, task, file_format):
    """Export, read the metadata back, and compare ``mobileode run`` with the toolbox's prediction."""
    (config, options), one = config_of(task), FORMATS[file_format]
    path = out / f'network{one.suffix}'
    exported = export(config, place / f'{task}.pth', path, file_format, cfg_options=options,
                      size=(96, 128) if task == 'segmentation' else None)
    assert all(row.good for row in exported.rows) and {'input', 'features'} < {row.quantity for row in exported.rows}
    assert sorted(path.parent.iterdir()) == sorted(one.files(path))
    assert one.metadata(path) == exported.metadata and format_of(path) == file_format

    masks = ['--masks', str(out / 'masks')] if task == 'segmentation' else []
    capsys.readouterr()
    assert main(['run', str(path), str(place / 'image.png'), '--score-thr', '0.02', '--threads', '1', *masks]) == 0
    found = json.loads(capsys.readouterr().out)
    pixels = cv2.imread(str(place / 'image.png'))
    if task == 'classification':  # whose pipeline leaves images as they are
        pixels = cv2.resize(pixels, (64, 64))
    expected = inferencer_of(place, task)([pixels])[0]
    if task == 'classification':
        assert found['label'] == CLASSES[expected.scores.argmax()]
        assert found['score'] == pytest.approx(expected.scores.max(), abs=0.02)
    elif task == 'segmentation':
        mask = np.asarray(Image.open(out / 'masks' / 'image.png'))
        # It sees an image of another size, and resizes the mask, the toolbox the logits.
        assert mask.shape == (100, 150) and sum(found['pixels'].values()) == mask.size
    else:
        assert_same_boxes(found['boxes'], expected)


@pytest.mark.slow
@pytest.mark.parametrize('choice', [dict(with_nms=True), dict(dynamic='both')], ids=['suppressed', 'any size'])
def test_rtmdets_head_in_a_file(choice, tmp_path, save_untrained):
    config = ROOT / 'configs/rtmdet_mobileode_mini.py'
    options = {**TASKS['detection'][1], 'model.neck.out_channels': 16, 'model.bbox_head.feat_channels': 16}
    save_untrained(config, options, tmp_path / 'a.pth', CLASSES)
    exported = export(config, tmp_path / 'a.pth', tmp_path / 'a.onnx', cfg_options=options, **choice)
    assert len(exported.rows) > 3 and all(row.good for row in exported.rows)
    assert json.loads(exported.metadata['outputs'])[:2] == ['boxes', 'scores']


@pytest.mark.slow
def test_a_run_prints_results_alone(place, tmp_path):
    """In a process of its own, where the toolboxes are loaded first, and say so."""
    config, options = config_of('detection')
    tiled, path = tmp_path / 'tiles.py', tmp_path / 'a.pt'
    tiled.write_text(f"_base_ = '{config}'\nmodel = dict(test_cfg=dict(tile=dict(size=128, overlap=32)))\n")
    export(tiled, place / 'detection.pth', path, 'torchscript', cfg_options=options)
    done = subprocess.run([sys.executable, '-m', 'mobileode_mm', 'run', path, place / 'image.png'], capture_output=True,
                          text=True)
    assert done.returncode == 0 and json.loads(done.stdout)['boxes'], done.stderr


def assert_same_boxes(found, expected):
    """The first ten of the toolbox's boxes are there; runtimes and resizes round otherwise."""
    boxes, labels, scores = expected
    assert len(scores) > 20
    for box, label, score in list(zip(boxes, labels, scores))[:10]:
        same = [one for one in found if one['label'] == CLASSES[label]
                and np.abs(np.subtract(one['box'], box)).max() < 1]
        assert same and min(abs(one['score'] - score) for one in same) < 0.02


def test_tiles_are_cut_and_put_together_by_mobileode_run(place, tmp_path, capsys):
    """Of an image that has the pipeline's 192 px, so that no resize rounds; one tile is larger than it."""
    config, options = config_of('detection')
    checkpoint, image = place / 'detection.pth', tmp_path / 'image.png'
    Image.open(place / 'image.png').resize((192, 192)).save(image)
    for side in (128, 256):
        tiled, path = tmp_path / f'tiles{side}.py', tmp_path / f'{side}.pt'
        tiled.write_text(f"_base_ = '{config}'\nmodel = dict(test_cfg=dict(tile=dict(size={side}, overlap=32)))\n")
        exported = export(tiled, checkpoint, path, 'torchscript', cfg_options=options)
        assert json.loads(exported.metadata['size']) == [side, side] and all(row.good for row in exported.rows)
        capsys.readouterr()
        assert main(['run', str(path), str(image), '--score-thr', '0.02']) == 0
        inferencer = Inferencer(tiled, checkpoint, 'cpu', cfg_options=options, deploy=False)
        assert_same_boxes(json.loads(capsys.readouterr().out)['boxes'], inferencer([image])[0])
    for choice, words in ((dict(size=(192, 192)), '--size'), (dict(dynamic='size'), '--dynamic size'),
                          (dict(int8='size', with_nms=True), '--int8')):
        with pytest.raises(InputError, match=f'tiles of 256 x 256 px.*{words}'):
            export(tiled, checkpoint, tmp_path / 'a.onnx', cfg_options=options, **choice)


def test_a_detector_that_is_fast_to_write_by_mobileode_run(place, tmp_path, capsys):
    check(place, tmp_path, capsys, 'detection', 'torchscript')


@pytest.mark.slow
@pytest.mark.parametrize('file_format', [installed(name) for name in FORMATS])
@pytest.mark.parametrize('task', TASKS)
def test_every_runtime_by_mobileode_run(place, tmp_path, capsys, task, file_format):
    check(place, tmp_path, capsys, task, file_format)


@pytest.mark.slow
@pytest.mark.parametrize('file_format', [installed(name) for name in FORMATS])
def test_every_runtime_gives_a_network_its_bgr(place, tmp_path, file_format):
    config, options = config_of('classification')
    export(config, place / 'classification.pth', tmp_path / f'a{FORMATS[file_format].suffix}', file_format,
           cfg_options={**options, 'data_preprocessor.to_rgb': False})


@pytest.mark.slow
@pytest.mark.parametrize('config, size, file_format', [
    pytest.param('ssdlite_mobileode_full_mini', 192, 'ncnn', marks=installed('ncnn').marks, id='shared layers'),
    pytest.param('classify_mobilevit_ode_mini', 128, 'openvino', marks=installed('openvino').marks,
                 id='as many patches as heads')])
def test_what_a_runtime_reads_otherwise_is_written_so_that_it_does_not(save_untrained, tmp_path, config, size,
                                                                       file_format):
    config, options = ROOT / 'configs' / f'{config}.py', {'model.backbone.num_steps': 1}
    save_untrained(config, options, tmp_path / 'a.pth', CLASSES)
    export(config, tmp_path / 'a.pth', tmp_path / f'a{FORMATS[file_format].suffix}', file_format, cfg_options=options,
           size=(size, size))


@pytest.mark.slow
@pytest.mark.parametrize('file_format', [installed('openvino')])
@pytest.mark.parametrize('task, choice', [('detection', dict(with_nms=True)), ('segmentation', dict(dynamic='both'))])
def test_openvino_suppresses_and_takes_any_size(place, tmp_path, task, choice, file_format):
    config, options = config_of(task)
    exported = export(config, place / f'{task}.pth', tmp_path / 'a.xml', file_format, cfg_options=options, **choice)
    assert all(row.good for row in exported.rows) and exported.metadata['dynamic'] == choice.get('dynamic', 'none')


def test_suppression_is_torchvisions_in_each_class():
    from torchvision.ops import batched_nms
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(2, 40, 2, generator=generator) * 50
    boxes = torch.cat([corners, corners + 5 + 20 * torch.rand(2, 40, 2, generator=generator)], -1)
    scores = torch.rand(2, 3, 40, generator=generator)
    kept = suppress(boxes, scores, 0.4, 0.3)
    for image in range(2):
        labels, anchors = (scores[image] > 0.3).nonzero().unbind(1)
        found = batched_nms(boxes[image, anchors], scores[image, labels, anchors], labels, 0.4)
        expected = torch.zeros(3, 40)
        expected[labels[found], anchors[found]] = scores[image, labels[found], anchors[found]]
        assert torch.equal(kept[image], expected) and 0 < len(found) < len(labels)


def test_suppression_becomes_onnxs_own_operator(tmp_path):
    """And gives torchvision's boxes there, at any batch."""
    class Suppress(torch.nn.Module):
        def forward(self, boxes, scores):
            return suppress(boxes, scores, 0.4, 0.3)

    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(2, 40, 2, generator=generator) * 50
    boxes = torch.cat([corners, corners + 5 + 20 * torch.rand(2, 40, 2, generator=generator)], -1)
    scores = torch.rand(2, 3, 40, generator=generator)
    batch = {0: torch.export.Dim.DYNAMIC}
    made = torch.onnx.export(Suppress().eval(), (boxes, scores), dynamo=True, opset_version=18,
                             dynamic_shapes=(batch, batch), custom_translation_table=onnx_translations(), verbose=False)
    made.save(tmp_path / 'nms.onnx')
    session = onnxruntime.InferenceSession(tmp_path / 'nms.onnx', providers=['CPUExecutionProvider'])
    names = [value.name for value in session.get_inputs()]
    for count in (1, 2):
        found, = session.run(None, dict(zip(names, (boxes[:count].numpy(), scores[:count].numpy()))))
        assert np.array_equal(found, suppress(boxes[:count], scores[:count], 0.4, 0.3).numpy())


@pytest.mark.parametrize('task, arguments, words', [
    ('classification', ['--with-nms'], ['--with-nms', 'classification']),
    ('detection', ['--with-nms', '--format', 'torchscript', '--out', 'a.pt'], ['--with-nms', 'onnx']),
    ('detection', ['--format', 'tflite'], ['tflite', 'torchscript']),
    ('detection', ['--with-nms', '--format', 'ncnn', '--out', 'a.ncnn.param'], ['--with-nms', 'ncnn', 'openvino']),
    ('classification', ['--dynamic', 'batch', '--format', 'ncnn', '--out', 'a.ncnn.param'], ['ncnn', 'one image']),
    ('classification', ['--dynamic', 'size', '--format', 'litert', '--out', 'a.tflite'], ['litert', '--dynamic size']),
    ('detection', ['--dynamic', 'width'], ['--dynamic width', 'batch']),
    ('detection', ['--dynamic', 'size', '--size', '64', '64'], ['--size', '--dynamic size']),
    ('detection', ['--format', 'torchscript', '--dynamic', 'both', '--out', 'a.pt'], ['TorchScript', 'batch']),
    ('detection', ['--out', 'a.pt'], ['a.pt', '.onnx']),
    ('segmentation', [], ['--size', '--dynamic size']),
    ('classification', ['--int8', '--format', 'torchscript', '--out', 'a.pt'], ['--int8', 'onnx']),
    ('classification', ['--int8', 'fast'], ['--int8 fast', 'speed, size']),
])
def test_what_cannot_be_made_is_refused(place, tmp_path, monkeypatch, capsys, task, arguments, words):
    monkeypatch.chdir(tmp_path)
    config, options = config_of(task)
    status = main(['export', str(config), str(place / f'{task}.pth'), '--out', 'a.onnx', *arguments, '--cfg-options',
                   *(f'{key}={value}' for key, value in options.items())])
    message = capsys.readouterr().err
    assert status == 2 and message.startswith('error: ') and all(word in message for word in words), message
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize('task, options, word', [
    ('classification', {'model.head': dict(_delete_=True, type='MultiLabelLinearClsHead', num_classes=10)}, 'several'),
    ('segmentation', {'model.data_preprocessor.test_cfg': dict(size_divisor=32)}, 'pads images by its test_cfg')])
def test_what_a_file_would_not_do_is_refused(place, tmp_path, task, options, word):
    with pytest.raises(InputError, match=word):
        export(config_of(task)[0], place / f'{task}.pth', tmp_path / 'a.onnx', size=(64, 64),
               cfg_options={**config_of(task)[1], **options})
    assert not os.listdir(tmp_path)


def test_masks_of_many_classes(place):
    model = inferencer_of(place, 'segmentation').model
    model.decode_head.out_channels = 300
    task = networks.Segmentor(model, takes_rgb=False)
    task.logits = lambda image: torch.nn.functional.one_hot(torch.full((1, 4, 4), 299)).permute(0, 3, 1, 2)
    assert (task(torch.zeros(1, 4, 4, 3))[0].long() == 299).all()


def test_a_choice_by_rounding_alone_is_explained():
    bad, worse = parity.Row('not found', 0.5, 0.01, ''), parity.Row('scores', 0.5, 1e-4, '')
    with pytest.raises(InputError, match='(?s)TOO LARGE.*hardly trained'):
        exporting._check_rows([bad], Path('a.onnx'))
    with pytest.raises(InputError, match='TOO LARGE$'):
        exporting._check_rows([bad, worse], Path('a.onnx'))


def test_images_of_the_test_data(place, tmp_path, smooth_noise):
    """Folders without images are as good as none; floats of the pipeline become bytes, which files take."""
    config, options = config_of('classification')
    options = {**options, 'test_dataloader.dataset.data_root': str(tmp_path),
               'test_dataloader.dataset.pipeline': [dict(type='LoadImageFromFile', to_float32=True),
                                                    dict(type='Resize', scale=(64, 64)), dict(type='PackInputs')]}
    inferencer = Inferencer(config, place / 'classification.pth', 'cpu', cfg_options=options, deploy=False)
    (tmp_path / 'val/a').mkdir(parents=True)
    assert samples(inferencer, 1, None)[1].startswith('random images (the test data cannot be read: Found 0 files')
    smooth_noise.save(tmp_path / 'val/a/1.png')
    (pixels, ), origin = samples(inferencer, 1, None)
    assert origin == 'images of the test data' and pixels.dtype == np.uint8
    exact = inferencer.prepare(inferencer.read(tmp_path / 'val/a/1.png'))['inputs'].numpy()
    assert exact.dtype == np.float32 and 0 < np.abs(pixels[..., ::-1].transpose(2, 0, 1) - exact).max() <= 0.5


def test_nothing_is_overwritten_and_a_wrong_file_never_appears(place, tmp_path, monkeypatch):
    config, options = config_of('classification')
    out = tmp_path / 'a.pt'
    out.write_text('precious')
    with pytest.raises(InputError, match='exists already'):
        export(config, place / 'classification.pth', out, 'torchscript', cfg_options=options)
    assert out.read_text() == 'precious'
    out.unlink()
    monkeypatch.setattr('mobileode_mm.deploy.exporting.load', lambda *file: lambda image: [
        output + 0.01 for output in load(*file)(image)])
    with pytest.raises(InputError, match='(?s)does not compute what the network computes.*TOO LARGE'):
        export(config, place / 'classification.pth', out, 'torchscript', cfg_options=options)
    assert not os.listdir(tmp_path)


@pytest.mark.slow
def test_eight_bits_are_calibrated_measured_and_run(place, tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    for split in ('train', 'val'):
        for name in CLASSES:
            folder = tmp_path / 'mini/classification' / split / name
            folder.mkdir(parents=True)
            for number in range(2):
                pixels = rng.integers(0, 256, (6, 6, 3), np.uint8)
                Image.fromarray(pixels).resize((64, 64), Image.BICUBIC).save(folder / f'{number}.png')
    monkeypatch.setenv('MOBILEODE_DATA', str(tmp_path))
    config, options = config_of('classification')
    out = tmp_path / 'new' / 'a.onnx'
    # Not 'speed', which writes nothing where this machine gains nothing.
    exported = export(config, place / 'classification.pth', out, int8='size', cfg_options=options)
    small = out.with_suffix('.int8.onnx')
    assert sorted(os.listdir(out.parent)) == ['a.int8.onnx', 'a.onnx']
    before, after = (line for line in exported.lines if 'bytes' in line)
    assert before.startswith('float32') and f'{out.stat().st_size:,}' in before and 'accuracy/top1' in before
    assert after.startswith('int8') and f'{small.stat().st_size:,}' in after and 'accuracy/top1' in after
    model = onnx.load(small)
    assert {'QuantizeLinear', 'DequantizeLinear'} <= {node.op_type for node in model.graph.node}
    meta = {entry.key: entry.value for entry in model.metadata_props}
    assert meta == {**exported.metadata, 'precision': 'int8'}
    image = np.asarray(Image.open(tmp_path / f'mini/classification/val/{CLASSES[0]}/0.png'))[None]
    one, other = (load(path, 'onnx')(image)[0] for path in (out, small))
    assert np.abs(one - other).max() < 0.2


def test_eight_bits_without_data_are_refused_before_anything_is_written(place, tmp_path):
    config, options = config_of('classification')
    with pytest.raises(InputError, match='--int8 is calibrated on the training data'):
        export(config, place / 'classification.pth', tmp_path / 'a.onnx', int8='speed', cfg_options=options)
    options = {**options, 'train_dataloader': None, 'train_cfg': None, 'optim_wrapper': None}
    with pytest.raises(InputError, match='are not all there: the config has no train_dataloader'):
        export(config, place / 'classification.pth', tmp_path / 'a.onnx', int8='speed', cfg_options=options)
    assert not os.listdir(tmp_path)
