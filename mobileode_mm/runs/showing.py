"""``--show`` and ``--show-dir``: predictions drawn by the toolboxes' own visualizers, each into a file of its own."""
import os

import mmcv
from mmengine.config import Config
from mmengine.hooks import Hook

from ..data.names import unique_names
from ..errors import InputError

#: Visualizer of each toolbox.
_VISUALIZERS = {'mmdet': 'DetLocalVisualizer', 'mmseg': 'SegLocalVisualizer', 'mmpretrain': 'UniversalVisualizer'}
#: Settings of the toolboxes' own hooks that are heeded: their name, and what the visualizer calls it.
_SETTINGS = {'score_thr': 'pred_score_thr', 'draw_score': 'draw_score', 'resize': 'resize',
             'rescale_factor': 'rescale_factor'}


class DrawPredictions(Hook):
    """Draw each image of a test with its prediction.

    The toolboxes' hooks name a drawing after its image alone, and images of one name, in several folders, are written
    over each other. Here each has a name of its own.

    Args:
        show: Show each in a window.
        folder: Folder for the files, if any.
        wait_time: Seconds that a window stands.
        settings: Of the visualizer.
    """

    def __init__(self, show: bool, folder: str | None, wait_time: float, settings: dict):
        self.show, self.folder, self.wait_time, self.settings = show, folder, wait_time, settings
        self._names: dict[str, str] = {}
        self._number = 0

    def before_test(self, runner) -> None:
        dataset = runner.test_dataloader.dataset
        infos = (dataset.get_data_info(number) for number in range(len(dataset)))
        self._names = unique_names([info['img_path'] for info in infos if info.get('img_path')])
        if self.folder:
            os.makedirs(self.folder, exist_ok=True)

    def after_test_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        for place, sample in enumerate(outputs):
            path = sample.get('img_path')
            # A data set that reads no files hands over the image as the network sees it, before it is normalised.
            image = (mmcv.imread(path, channel_order='rgb') if path else
                     data_batch['inputs'][place].permute(1, 2, 0).cpu().numpy().astype('uint8'))
            name = self._names.get(path) or f'{runner.rank}_{self._number:06}.png'
            self._number += 1
            arguments = dict(
                name=name, image=image, data_sample=sample, show=self.show, wait_time=self.wait_time,
                out_file=self.folder and os.path.join(self.folder, name), step=self._number, **self.settings)
            visualizer = runner.visualizer
            draw = visualizer.visualize_cls if hasattr(visualizer, 'visualize_cls') else visualizer.add_datasample
            draw(**arguments)


def drawing_hook(cfg: Config, show: bool, folder: str | None, wait_time: float) -> DrawPredictions:
    """The hook that draws, with the visualizer of the config's toolbox made sure of.

    Raises:
        InputError: No display, or no toolbox that draws.
    """
    if show and os.name == 'posix' and not (os.environ.get('DISPLAY') or os.environ.get('WAYLAND_DISPLAY')):
        raise InputError('--show needs a display, and there is none; use --show-dir')
    scope = cfg.get('default_scope')
    if scope not in _VISUALIZERS:
        raise InputError(f'--show and --show-dir draw with mmdet, mmseg or mmpretrain; the default_scope of '
                         f'{cfg.filename} is {scope}')
    if cfg.get('visualizer') is None:
        cfg.visualizer = dict(type=_VISUALIZERS[scope])
    hook = (cfg.get('default_hooks') or {}).get('visualization') or {}
    settings = {name: hook[key] for key, name in _SETTINGS.items() if key in hook}
    return DrawPredictions(show, folder, wait_time, settings)
