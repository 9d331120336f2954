"""Dropout and a linear layer."""
from mmpretrain.models.heads import LinearClsHead
from mmpretrain.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class DropoutLinearHead(LinearClsHead):
    """``mmpretrain.LinearClsHead`` with dropout before its linear layer; the state dict is the same.

    Args:
        dropout (float): Share of the pooled features that is set to zero in training. Defaults to 0.1, the
            release's.
        *args, **kwargs: As for ``mmpretrain.LinearClsHead``.
    """

    def __init__(self, *args, dropout: float = 0.1, **kwargs):
        super().__init__(*args, **kwargs)
        self.dropout = nn.Dropout(dropout)

    def forward(self, feats: tuple[Tensor, ...]) -> Tensor:
        """Scores (B, num_classes) of pooled features, a tuple whose last is (B, in_channels)."""
        return self.fc(self.dropout(self.pre_logits(feats)))
