"""Figures that others measured, read from the model files that their packages carry."""
from importlib.util import find_spec
from pathlib import Path

import yaml
from torchvision.models.detection import SSDLite320_MobileNet_V3_Large_Weights
from torchvision.models.segmentation import DeepLabV3_MobileNet_V3_Large_Weights

from benchmarks.output import table

_COCO, _IMAGENET = 'COCO val2017', 'ImageNet-1k'
#: What the tables say of a model; toolbox, metafile, name in it, data set and metric there.
_METAFILES = [
    ('SSDLite, MobileNetV2, 320 px, from scratch, 600 epochs', _COCO, 'box AP', 'mmdet', 'configs/ssd/metafile.yml',
     'ssdlite_mobilenetv2-scratch_8xb24-600e_coco', 'COCO', 'box AP'),
    ('RTMDet-tiny, 640 px', _COCO, 'box AP', 'mmdet', 'configs/rtmdet/metafile.yml',
     'rtmdet_tiny_8xb32-300e_coco', 'COCO', 'box AP'),
    ('MobileNetV2', _IMAGENET, 'top-1', 'mmpretrain', 'configs/mobilenet_v2/metafile.yml',
     'mobilenet-v2_8xb32_in1k', 'ImageNet-1k', 'Top 1 Accuracy'),
    ('MobileNetV3-Large', _IMAGENET, 'top-1', 'mmpretrain', 'configs/mobilenet_v3/metafile.yml',
     'mobilenet-v3-large_8xb128_in1k', 'ImageNet-1k', 'Top 1 Accuracy'),
]
#: The same of torchvision's weights.
_TORCHVISION = [
    ('SSDLite, MobileNetV3-Large, 320 px', _COCO, 'box AP', SSDLite320_MobileNet_V3_Large_Weights, 'COCO-val2017',
     'box_map'),
    ('DeepLabV3, MobileNetV3-Large', f"{_COCO} with VOC's classes", 'mIoU', DeepLabV3_MobileNet_V3_Large_Weights,
     'COCO-val2017-VOC-labels', 'miou'),
]


def figures_of_others() -> str:
    """Markdown table of network, data, figure and source."""
    rows = [[title, data, f'{label} {_of_metafile(toolbox, file, name, dataset, metric):g}', f'{toolbox}, `{file}`']
            for title, data, label, toolbox, file, name, dataset, metric in _METAFILES]
    rows += [[title, data, f'{label} {weights.DEFAULT.meta["_metrics"][dataset][metric]:g}',
              f'torchvision, `{weights.__name__}`'] for title, data, label, weights, dataset, metric in _TORCHVISION]
    return table(('network', 'data', 'figure', 'source'), rows)


def _of_metafile(toolbox: str, file: str, name: str, dataset: str, metric: str) -> float:
    folder = Path(find_spec(toolbox).origin).parent / '.mim'
    models = yaml.safe_load((folder / file).read_text())['Models']
    model, = (model for model in models if model['Name'] == name)
    return next(result['Metrics'][metric] for result in model['Results'] if result['Dataset'] == dataset)
