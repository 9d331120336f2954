"""Inference: the toolboxes' own predictions, every kind of input, and what is left on the disk."""
import contextlib
import http.server
import itertools
import json
import os
import re
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import MODELS
from PIL import Image
from pycocotools.coco import COCO

from mobileode_mm.apis import Inferencer, infer
from mobileode_mm.cli import main
from mobileode_mm.data.label_maps import voc_palette
from mobileode_mm.errors import InputError
from mobileode_mm.inference import infer as inferring
from mobileode_mm.inference.inferencer import Boxes
from mobileode_mm.inference.sources import read_frames
from mobileode_mm.inference.writers import PARTIAL, draw_prediction
from mobileode_mm.runs.checks import config_scope
from mobileode_mm.runs.config import load_config

CONFIGS = Path(__file__).parents[2] / 'configs'
TASKS = {'detection': 'ssdlite_mobileode_mini', 'segmentation': 'deeplabv3_mobileode_mini',
         'classification': 'classify_mobileode_mini'}
CLASSES = tuple('abcdefghij')
CATEGORY_IDS = [3 * number + 5 for number in range(10)]


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """Checkpoints of untrained networks, an annotation file with unusual category ids, images of every kind."""
    folder = tmp_path_factory.mktemp('inference')
    for task, name in TASKS.items():
        cfg = load_config(CONFIGS / f'{name}.py')
        classes = ('ground', *CLASSES) if task == 'segmentation' else CLASSES
        with config_scope(cfg):
            torch.manual_seed(0)
            preprocessor = {key: cfg[key] for key in ('data_preprocessor', ) if key in cfg}
            model = MODELS.build({**cfg.model, **preprocessor})
        # Scores that differ, and labels that differ from image to image and place to place.
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.1) if parameter.dim() > 1 else None
        torch.save(dict(state_dict=model.state_dict(), meta=dict(dataset_meta=dict(classes=classes))),
                   folder / f'{task}.pth')
    annotations = folder / 'data/mini/coco/annotations'
    annotations.mkdir(parents=True)
    annotations.joinpath('instances_val2017.json').write_text(json.dumps(dict(
        images=[], annotations=[],
        categories=[dict(id=number, name=name) for number, name in zip(CATEGORY_IDS, CLASSES)][::-1])))
    rng = np.random.default_rng(0)
    colours = cv2.resize(rng.integers(0, 256, (8, 12, 3), np.uint8), (96, 64), interpolation=cv2.INTER_CUBIC)
    image = Image.fromarray(colours)
    images = folder / 'images'
    images.mkdir()
    image.save(images / 'plain.png')
    image.convert('L').save(images / 'grey.png')
    image.convert('RGBA').save(images / 'alpha.png')
    image.convert('CMYK').save(images / 'cmyk.jpg', quality=95)
    exif = image.getexif()
    exif[0x0112] = 6  # the camera was held upright
    image.save(images / 'rotated.jpg', exif=exif, quality=95)
    image.resize((1, 1)).save(images / 'dot.png')
    image.resize((5000, 100)).save(images / 'long.jpg')
    (folder / 'text.jpg').write_text('no image')
    (folder / 'torn.jpg').write_bytes(images.joinpath('rotated.jpg').read_bytes()[:900])
    video = cv2.VideoWriter(str(folder / 'clip.avi'), cv2.VideoWriter_fourcc(*'MJPG'), 12, (96, 64))
    for shift in range(3):
        video.write(np.roll(colours, 8 * shift, axis=1))
    video.release()
    return folder


@pytest.fixture
def here(place, tmp_path, monkeypatch):
    """The folder of the inputs; the current one is empty."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('MOBILEODE_DATA', str(place / 'data'))
    return place


@pytest.fixture(scope='module')
def inferencers(place):
    return {task: Inferencer(CONFIGS / f'{name}.py', place / f'{task}.pth', 'cpu') for task, name in TASKS.items()}


def command(here, task, *arguments):
    return main(['infer', str(CONFIGS / f'{TASKS[task]}.py'), str(here / f'{task}.pth'), '--device', 'cpu',
                 *map(str, arguments)])


def result(out='predictions'):
    return json.loads(Path(out, 'predictions.json').read_text())


def reference(task, inferencer, images):
    """What the toolbox's own functions for inference find."""
    cfg = load_config(CONFIGS / f'{TASKS[task]}.py')
    with config_scope(cfg):
        return toolbox_s_own(task, cfg, inferencer, images)


def toolbox_s_own(task, cfg, inferencer, images):
    if task == 'detection':
        from mmdet.apis import inference_detector
        inferencer.model.cfg = cfg
        found = [inference_detector(inferencer.model, str(path)) for path in images]
        return [(one.pred_instances.bboxes.numpy(), one.pred_instances.labels.numpy(),
                 one.pred_instances.scores.numpy()) for one in found]
    if task == 'segmentation':
        from mmseg.apis import inference_model
        inferencer.model.cfg = cfg
        return [(inference_model(inferencer.model, str(path)).pred_sem_seg.data[0].numpy(), ) for path in images]
    from mmpretrain.apis import ImageClassificationInferencer
    inferencer.model._config, inferencer.model._dataset_meta = cfg, inferencer.metainfo
    pixels = [cv2.imread(str(path)) for path in images]
    return [(one['pred_scores'], ) for one in ImageClassificationInferencer(inferencer.model)(pixels)]


@pytest.mark.parametrize('task', TASKS)
def test_predictions_are_the_toolbox_s_own_in_any_batch(task, here, inferencers):
    images = [here / 'images' / name for name in ('plain.png', 'grey.png', 'rotated.jpg', 'alpha.png')]
    one_by_one = inferencers[task](images)
    batched = inferencers[task](images, batch_size=4)
    for mine, together, theirs in zip(one_by_one, batched, reference(task, inferencers[task], images), strict=True):
        assert mine[0].size
        for a, b, c in zip(mine, together, theirs, strict=True):
            np.testing.assert_allclose(a, c, rtol=1e-5, atol=1e-5)
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3)
    assert not np.array_equal(one_by_one[0][0], one_by_one[2][0])


def test_what_no_jpeg_holds_is_drawn_smaller_and_names_of_two_lines_on_one():
    found = Boxes(np.array([[0., 0, 65_536, 8]]), np.array([0]), np.array([0.9]))
    drawn = draw_prediction(np.zeros((8, 65_536, 3), np.uint8), found, dict(classes=('cat\r\n', )))
    assert drawn.shape == (8, 65_500, 3)


@pytest.mark.parametrize('task', TASKS)
def test_images_of_every_kind(task, here):
    folder = here / 'images'
    assert command(here, task, folder, '--score-thr', '0') == 0
    found = result()
    sizes = {Path(image['file_name']).name: (image['width'], image['height']) for image in found['images']}
    assert sizes == {'plain.png': (96, 64), 'grey.png': (96, 64), 'alpha.png': (96, 64), 'cmyk.jpg': (96, 64),
                     'rotated.jpg': (64, 96), 'dot.png': (1, 1), 'long.jpg': (5000, 100)}
    drawn = {path.stem: Image.open(path).size for path in Path('predictions/drawn').iterdir()}
    assert drawn.keys() == {Path(name).stem for name in sizes}
    assert drawn['long'] == (5000, 100) and drawn['dot'] == (400, 400) and drawn['rotated'] == (267, 400)
    if task == 'segmentation':
        for image in found['images']:
            mask = Image.open(Path('predictions', image['mask']))
            assert mask.mode == 'P' and mask.size == (image['width'], image['height'])
            assert bytes(mask.getpalette())[:33] == voc_palette()[:33]
            assert sum(image['pixels'].values()) == image['width'] * image['height']
    if task == 'classification':
        for image in found['images']:
            assert image['name'] == CLASSES[image['label']] and len(image['top']) == 5
            assert image['score'] == max(one['score'] for one in image['top'])


def test_what_the_decoder_makes_of_them(here, inferencers):
    read = inferencers['detection'].read
    plain = read(here / 'images/plain.png')
    grey = read(here / 'images/grey.png')
    assert (read(here / 'images/alpha.png') == plain).all()
    assert (grey[..., 0] == grey[..., 2]).all()
    upright = read(here / 'images/rotated.jpg').astype(int)
    assert abs(upright - np.rot90(plain, -1)).mean() < 5
    assert abs(read(here / 'images/cmyk.jpg').astype(int) - plain).mean() < 5
    for name, fault in (('text.jpg', 'is broken or no image'), ('torn.jpg', 'is broken or no image')):
        with pytest.raises(InputError, match=f'{name} {fault}'):
            inferencers['detection']([here / name])
    with pytest.raises(InputError, match='shape .4, 4. and type uint8 is none of'):
        inferencers['detection']([np.zeros((4, 4), np.uint8)])


def test_boxes_are_coco_s_with_the_data_set_s_category_ids(here):
    assert command(here, 'detection', here / 'images/plain.png', '--score-thr', '0.05') == 0
    with contextlib.redirect_stdout(None):
        coco = COCO('predictions/predictions.json')
    boxes = coco.loadAnns(coco.getAnnIds(imgIds=1))
    assert boxes and {box['category_id'] for box in boxes} <= set(CATEGORY_IDS)
    assert coco.loadCats(CATEGORY_IDS[1])[0]['name'] == CLASSES[1]
    scores = [box['score'] for box in boxes]
    assert scores == sorted(scores, reverse=True) and scores[-1] >= 0.05
    inferencer = Inferencer(CONFIGS / f'{TASKS["detection"]}.py', here / 'detection.pth', 'cpu')
    corners, labels, _ = inferencer([here / 'images/plain.png'])[0]
    x1, y1, x2, y2 = corners[0]
    assert boxes[0]['bbox'] == pytest.approx([x1, y1, x2 - x1, y2 - y1], abs=0.01)
    assert boxes[0]['category_id'] == CATEGORY_IDS[labels[0]]
    # Half of them are under the median, and are left out.
    threshold = str(np.median(scores) + 1e-4)
    assert command(here, 'detection', here / 'images/plain.png', '--score-thr', threshold, '--out', 'fewer') == 0
    assert 0 < len(result('fewer')['annotations']) <= len(boxes) / 2 + 1


def test_without_annotations_the_ids_are_coco_s_or_counted(here, monkeypatch, inferencers):
    monkeypatch.setenv('MOBILEODE_DATA', str(here / 'nowhere'))
    inferencer = Inferencer(CONFIGS / f'{TASKS["detection"]}.py', here / 'detection.pth', 'cpu')
    ids, line = inferencer.category_ids()
    assert ids == list(range(1, 11)) and line.startswith('category ids are counted from 1: ') and 'nowhere' in line
    from mmdet.datasets import CocoDataset
    inferencer.metainfo = dict(classes=tuple(CocoDataset.METAINFO['classes']))
    ids, line = inferencer.category_ids()
    assert not line and len(ids) == 80 and ids[:12] == [*range(1, 12), 13] and ids[-1] == 90


def test_unreadable_files_are_named_and_skipped(here, capfd):
    inputs = [here / 'text.jpg', here / 'images/plain.png', here / 'torn.jpg', here / 'void.jpg']
    inputs[3].touch()
    assert command(here, 'classification', *inputs) == 1
    reported = capfd.readouterr().err
    assert f'skipped: {inputs[0]} is broken or no image' in reported and f'skipped: {inputs[2]} ' in reported
    assert f'skipped: {inputs[3]} is broken or no image\n' in reported
    assert '1 images, 3 inputs skipped' in reported
    assert [image['file_name'] for image in result()['images']] == [str(inputs[1])]


def test_a_folder_s_images_of_rare_kinds(here, capfd):
    """Those that cannot be read are named, and not passed over."""
    os.mkdir('mixed')
    image = Image.open(here / 'images/plain.png').convert('RGB')
    image.save('mixed/a.JFIF', 'JPEG')
    image.save('mixed/b.gif')
    Path('mixed/c.heic').write_bytes(b'of a phone')
    Path('mixed/d.txt').write_bytes(b'notes')
    assert command(here, 'classification', 'mixed') == 1
    assert 'skipped: mixed/c.heic is broken or no image' in capfd.readouterr().err
    assert [image['file_name'] for image in result()['images']] == ['mixed/a.JFIF', 'mixed/b.gif']


def test_nothing_is_written_over(here, capfd):
    Path('predictions').mkdir()
    Path('predictions/mine').write_text('kept')
    assert command(here, 'classification', here / 'images/plain.png') == 2
    assert 'predictions exists already and is not overwritten' in capfd.readouterr().err
    assert os.listdir('predictions') == ['mine']


@pytest.mark.parametrize('given, message', [
    ('absent.jpg', 'there is no file or folder absent.jpg'),
    ('absent*.jpg', 'no file matches absent'),
    ('empty', 'the folder empty holds no image and no video'),
    ('ftp://host/a.jpg', 'of URLs only http and https are'),
    ('http://127.0.0.1:9/a.jpg', 'cannot be fetched .*Is there a network'),
    ('987', 'there is no camera 987'),
])
def test_inputs_that_are_refused(given, message, here, capfd):
    os.mkdir('empty')
    assert command(here, 'classification', given) == 2
    assert re.search(message, capfd.readouterr().err)
    assert not os.path.exists('predictions')


def test_a_image_by_url(here):
    handler = type('Handler', (http.server.SimpleHTTPRequestHandler, ), dict(log_message=lambda *_: None))
    server = http.server.HTTPServer(('127.0.0.1', 0), lambda *args: handler(*args, directory=str(here / 'images')))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        url = f'http://127.0.0.1:{server.server_port}/plain.png'
        summary = infer(CONFIGS / f'{TASKS["classification"]}.py', here / 'classification.pth', [url], device='cpu')
    finally:
        server.shutdown()
        server.server_close()
    assert summary.frames == 1 and result()['images'][0]['file_name'] == url
    assert os.listdir('predictions/drawn') == ['plain.jpg']


def test_names_that_meet_are_numbered(here):
    os.mkdir('other')
    Image.open(here / 'images/plain.png').save('other/plain.jpg')
    assert command(here, 'classification', here / 'images/plain.png', 'other/*.jpg') == 0
    assert sorted(os.listdir('predictions/drawn')) == ['plain.jpg', 'plain_2.jpg']


@pytest.mark.parametrize('task', TASKS)
def test_a_video(task, here):
    assert command(here, task, here / 'clip.avi', '--batch-size', '2') == 0
    images = result()['images']
    assert [image['frame'] for image in images] == [0, 1, 2]
    drawn = cv2.VideoCapture('predictions/drawn/clip.mp4')
    assert drawn.get(cv2.CAP_PROP_FPS) == pytest.approx(12)
    assert drawn.get(cv2.CAP_PROP_FRAME_COUNT) == 3
    if task == 'segmentation':
        assert sorted(os.listdir('predictions/masks/clip')) == ['000000.png', '000001.png', '000002.png']


def test_an_interrupt_keeps_what_was_found(here, monkeypatch, capfd):
    def interrupted(*args):
        yield from itertools.islice(read_frames(*args), 2)
        raise KeyboardInterrupt

    monkeypatch.setattr(inferring, 'read_frames', interrupted)
    assert command(here, 'classification', here / 'clip.avi') == 130
    assert [image['frame'] for image in result()['images']] == [0, 1]
    assert cv2.VideoCapture('predictions/drawn/clip.mp4').get(cv2.CAP_PROP_FRAME_COUNT) == 2


def test_a_process_that_dies_loses_only_the_image_it_is_at(here, monkeypatch):
    seen = []

    def watched(*args):
        for number, frame in enumerate(read_frames(*args)):
            yield frame
            # Asked for the next image: what a SIGKILL leaves now.
            seen.append([json.loads(line) for line in Path('predictions', PARTIAL).read_text().splitlines()])
            assert len(seen[-1]) == number + 1 and len(os.listdir('predictions/drawn')) == number + 1

    monkeypatch.setattr(inferring, 'read_frames', watched)
    images = [here / 'images' / name for name in ('plain.png', 'grey.png', 'alpha.png')]
    assert command(here, 'detection', *images, '--score-thr', '0.05') == 0
    assert not Path('predictions', PARTIAL).exists()
    whole = result()
    for lines in seen:
        assert [{key: value for key, value in line.items() if key != 'annotations'} for line in lines] \
            == whole['images'][:len(lines)]
        assert sum((line['annotations'] for line in lines), []) \
            == [box for box in whole['annotations'] if box['image_id'] <= len(lines)]
    assert whole['annotations']


def test_names_that_are_no_utf_8_are_escaped(here, capfd):
    for name, source in ((b'caf\xe9.png', 'images/plain.png'), (b'n\xe9.jpg', 'text.jpg'), (b'v\xe9.avi', 'text.jpg')):
        Path(os.fsdecode(name)).write_bytes((here / source).read_bytes())
    Path(os.fsdecode(b'w\xe9.avi')).write_bytes((here / 'clip.avi').read_bytes())
    assert command(here, 'segmentation', '.') == 1
    image, *frames = result()['images']
    assert image['file_name'] == './caf\\xe9.png' and image['mask'] == 'masks/caf\\xe9.png'
    assert {frame['file_name'] for frame in frames} == {'./w\\xe9.avi'} and len(frames) == 3
    assert all(Path('predictions', image['mask']).is_file() for image in (image, *frames))
    assert sorted(os.listdir('predictions/drawn')) == ['caf\\xe9.jpg', 'w\\xe9.mp4']
    reported = capfd.readouterr().err
    assert 'skipped: ./n\\xe9.jpg is broken' in reported and 'skipped: ./v\\xe9.avi is broken' in reported


def test_a_palette_is_one_colour_a_class_or_none(here):
    checkpoint = torch.load(here / 'segmentation.pth', weights_only=True)
    colours = [[number, 0, 255] for number in range(11)]
    for palette, expected in ((np.array(colours), [tuple(colour) for colour in colours]), (colours[:10], None),
                              ('random', None), ([[1, 2]] * 11, None), ([[1, 2, 999]] * 11, None), ({}, None)):
        checkpoint['meta']['dataset_meta']['palette'] = palette
        torch.save(checkpoint, 'x.pth')
        inferencer = Inferencer(CONFIGS / f'{TASKS["segmentation"]}.py', 'x.pth', 'cpu')
        assert inferencer.metainfo['palette'] == expected
    assert inferencer.classes == ('ground', *CLASSES)


def test_weights_that_are_no_numbers_predict_nothing(here, capfd):
    checkpoint = torch.load(here / 'classification.pth', weights_only=True)
    name = list(checkpoint['state_dict'])[0]
    checkpoint['state_dict'][name][0, 0] = float('nan')
    torch.save(checkpoint, 'diverged.pth')
    assert main(['infer', str(CONFIGS / f'{TASKS["classification"]}.py'), 'diverged.pth',
                 str(here / 'images/plain.png')]) == 2
    assert re.fullmatch(fr'error: diverged.pth predicts nothing: 1 of its \d+ entries hold NaN: {name}\n',
                        capfd.readouterr().err)
    assert not os.path.exists('predictions')


def test_what_cannot_be_used(here, capfd):
    image = here / 'images/plain.png'
    for arguments, message in (
            (('--device', 'cuda:77'), 'the device cuda:77 cannot be used'),
            (('--batch-size', '0'), '--batch-size 0'),
            (('--score-thr', '30'), '--score-thr 30.0: a number from 0 to 1')):
        assert command(here, 'classification', image, *arguments) == 2
        assert message in capfd.readouterr().err
    assert main(['infer', str(CONFIGS / f'{TASKS["detection"]}.py'), str(here / 'segmentation.pth'), str(image)]) == 2
    assert 'is a checkpoint of another network' in capfd.readouterr().err
    Path('torn.pth').write_bytes((here / 'classification.pth').read_bytes()[:100_000])
    Path('text.pth').write_text('no weights')
    for name, message in (('torn.pth', 'is no checkpoint, or a torn one'),
                          ('text.pth', 'is no checkpoint, or a torn one'),
                          ('absent.pth', 'there is no checkpoint file absent.pth')):
        assert main(['infer', str(CONFIGS / f'{TASKS["classification"]}.py'), name, str(image)]) == 2
        assert message in capfd.readouterr().err
    assert not os.path.exists('predictions')


class RunsCode:

    def __reduce__(self):
        return os.mkdir, ('made', )


def test_a_checkpoint_that_runs_code_needs_trust(here, capfd):
    checkpoint = torch.load(here / 'classification.pth', weights_only=True)
    torch.save(dict(checkpoint, extra=RunsCode()), 'bad.pth')
    config, image = str(CONFIGS / f'{TASKS["classification"]}.py'), str(here / 'images/plain.png')
    assert main(['infer', config, 'bad.pth', image]) == 2
    reported = capfd.readouterr().err
    assert 'reading such objects can run any code' in reported and '--trust-checkpoint' in reported
    assert not os.path.exists('made') and not os.path.exists('predictions')
    assert main(['infer', config, 'bad.pth', image, '--trust-checkpoint']) == 0
    assert os.path.exists('made')


def test_safetensors_are_read_and_a_torn_file_refused(here):
    safetensors = pytest.importorskip('safetensors.torch', reason='needs safetensors')
    checkpoint = torch.load(here / 'classification.pth', weights_only=True)
    safetensors.save_file(checkpoint['state_dict'], 'x.safetensors',
                          metadata=dict(meta=json.dumps(checkpoint['meta'])))
    config = CONFIGS / f'{TASKS["classification"]}.py'
    scores = [Inferencer(config, path, 'cpu')([here / 'images/plain.png'])[0].scores
              for path in ('x.safetensors', here / 'classification.pth')]
    assert (scores[0] == scores[1]).all()
    assert Inferencer(config, 'x.safetensors', 'cpu').classes == CLASSES
    Path('torn.safetensors').write_bytes(Path('x.safetensors').read_bytes()[:5000])
    with pytest.raises(InputError, match='is no safetensors file, or a torn one'):
        Inferencer(config, 'torn.safetensors')
