"""The classifier and its head, against mmpretrain's own and plain PyTorch."""
import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import DefaultScope
from mmpretrain.models import ImageClassifier
from mmpretrain.models.heads import LinearClsHead
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample

from mobileode_mm.classification import DropoutLinearHead, FittedClassifier
from mobileode_mm.errors import InputError

CIFAR_STRIDES = (1, 1, 1, 2, 2, 2)
BACKBONES = {
    'MobileODE V1': (dict(type='MobileODEV1'), 576),
    'MobileODE V2': (dict(type='MobileODEV2'), 1024),
    'wider': (dict(type='MobileODEV1', widen_factor=1.5), 1296),
    'two maps': (dict(type='MobileODEV2', out_indices=(4, 5)), 1024),
    'MobileNetV1': (dict(type='MobileNetV1'), 1024),
    'MobileNetV2': (dict(type='mmpretrain.MobileNetV2'), 1280),
    'MobileNetV3': (dict(type='mmpretrain.MobileNetV3', arch='large'), 960),
}


@pytest.fixture(autouse=True)
def scope():
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        yield


def config(backbone, num_classes=10, **head):
    return dict(
        type='FittedClassifier', backbone=dict(backbone), neck=dict(type='GlobalAveragePooling'),
        head=dict(dict(type='DropoutLinearHead', num_classes=num_classes,
                       loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1)), **head))


@pytest.fixture(scope='module')
def small():
    """A classifier with weights and statistics that are not the initial ones."""
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(config(dict(type='MobileODEV1', widen_factor=0.5, input_size=32)))
    with torch.no_grad():
        for value in model.state_dict().values():
            if value.is_floating_point():
                value.add_(0.1 * torch.rand_like(value))
    return model


@pytest.mark.parametrize(('backbone', 'width'), BACKBONES.values(), ids=BACKBONES)
def test_the_width_follows_from_the_backbone(backbone, width):
    model = MODELS.build(config(backbone)).eval()
    assert model.head.in_channels == model.head.fc.in_features == width
    assert model(torch.zeros(2, 3, 64, 64)).shape == (2, 10)


def test_other_heads_too():
    stacked = dict(type='StackedLinearClsHead', num_classes=7, mid_channels=[12])
    model = MODELS.build(dict(config(dict(type='MobileODEV1')), head=stacked)).eval()
    assert model(torch.zeros(1, 3, 32, 32)).shape == (1, 7)


def test_without_a_head_the_features_are_returned():
    """As mmpretrain's get_model(config, head=None) makes it."""
    features, = MODELS.build(dict(config(dict(type='MobileODEV1')), head=None)).eval()(torch.zeros(2, 3, 32, 32))
    assert features.shape == (2, 576)


def test_a_typed_width():
    backbone = dict(type='MobileODEV1')
    assert MODELS.build(config(backbone, in_channels=576)).head.in_channels == 576
    with pytest.raises(InputError, match=r'model\.head\.in_channels is 1024, but MobileODEV1 gives 576'):
        MODELS.build(config(backbone, in_channels=1024))


@pytest.mark.parametrize(('backbone', 'classes', 'parameters'), [
    (dict(type='MobileODEV1', input_size=32, strides=CIFAR_STRIDES), 10, 614_034),
    (dict(type='MobileODEV1', input_size=32, strides=CIFAR_STRIDES), 1000, 1_185_264),
    (dict(type='MobileODEV1', input_size=64), 10, 611_610),
    (dict(type='MobileODEV2', input_size=64), 10, 1_111_146),
])
def test_parameters_of_the_released_classifiers(backbone, classes, parameters):
    model = MODELS.build(config(backbone, classes))
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters


def test_predictions_are_those_of_mmpretrain_s_classifier(small):
    """The same weights in the stock classes, loaded strictly, give the same scores."""
    stock = ImageClassifier(
        backbone=dict(type='MobileODEV1', widen_factor=0.5, input_size=32), neck=dict(type='GlobalAveragePooling'),
        head=dict(type='LinearClsHead', num_classes=10, in_channels=small.head.in_channels))
    assert stock.load_state_dict(small.state_dict(), strict=True)
    images = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        expected = stock.eval().predict(images)
        found = small.eval().predict(images)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.pred_score, other.pred_score)
        assert one.pred_label == other.pred_label


def test_loss_is_label_smoothed_cross_entropy(small):
    images, labels = torch.randn(4, 3, 32, 32), torch.tensor([3, 0, 9, 3])
    samples = [DataSample().set_gt_label(label) for label in labels]
    with torch.no_grad():
        small.eval()
        loss = small.loss(images, samples)['loss']
        expected = F.cross_entropy(small(images), labels, label_smoothing=0.1)
    torch.testing.assert_close(loss, expected)


def test_dropout_in_training_only():
    head = DropoutLinearHead(num_classes=5, in_channels=20000, dropout=0.1)
    plain = LinearClsHead(num_classes=5, in_channels=20000)
    plain.load_state_dict(head.state_dict(), strict=True)
    # With weights of one, a score is the sum of the features: those left, scaled up by 1 / 0.9.
    torch.nn.init.ones_(head.fc.weight)
    torch.nn.init.zeros_(head.fc.bias)
    features = (torch.ones(1, 20000), )
    torch.manual_seed(0)
    kept = head.train()(features)[0, 0].item() * 0.9 / 20000
    assert 0.89 < kept < 0.91
    plain.load_state_dict(head.state_dict())
    assert torch.equal(head.eval()(features), plain.eval()(features))


def test_gradients_reach_every_parameter():
    model = FittedClassifier(**{key: value for key, value in config(
        dict(type='MobileODEV2', widen_factor=0.5, input_size=32)).items() if key != 'type'}).train()
    samples = [DataSample().set_gt_label(label) for label in (1, 2)]
    model.loss(torch.randn(2, 3, 32, 32), samples)['loss'].backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
