"""Intervals over seeds and images."""
import numpy as np
import pytest

from benchmarks.suites.intervals import interval
from benchmarks.suites.resampling import packed
from benchmarks.suites.table import add_intervals, interval_note, task_rows

AP = 'coco/bbox_mAP'


def test_seeds_alone_is_students_interval():
    # 2, 4, 9: mean 5, standard error sqrt(13 / 3), 4.3027 for two degrees of freedom.
    found = interval([2., 4., 9.], [None, None, None])
    assert found.mean == 5 and not found.images
    assert found.high - 5 == pytest.approx(5 - found.low) == pytest.approx(4.302653 * (13 / 3) ** 0.5, rel=1e-6)
    assert interval([2.], [None]) is None and interval([], []) is None
    assert not interval([2., 4., 9.], [np.zeros(9), None, np.zeros(9)]).images


def test_images_widen_it_by_the_variance_of_their_draws():
    draws = np.random.default_rng(1).normal(5, 3, 1000)
    # The same draws for each seed: their mean varies as one of them does.
    alone = interval([5., 5., 5.], [draws] * 3)
    assert alone.images and alone.high - 5 == pytest.approx(1.959964 * draws.std(ddof=1), rel=1e-6)
    both = interval([4., 5., 6.], [draws] * 3)
    assert both.high - both.low > alone.high - alone.low
    assert both.high - both.low < 2 * 4.302653 * (1 / 3 + draws.var(ddof=1)) ** 0.5, 'more degrees of freedom than two'


def test_intervals_of_equal_networks_hold_their_difference():
    """Of five hundred pairs that differ by nothing, the intervals of about one in twenty do not hold 0."""
    rng, missed = np.random.default_rng(0), 0
    for _ in range(500):
        found = interval(rng.normal(0, 1, 3), [None] * 3)
        missed += not found.low <= 0 <= found.high
    assert 12 <= missed <= 40


def networks(values):
    """A summary of backbones with figures for the seeds 0, 1, ..., and their runs."""
    runs = [dict(task='detection', backbone=name, seed=seed, status='done', metrics={AP: value})
            for name, own in values.items() for seed, value in enumerate(own)]
    made = [dict(task='detection', backbone=name, input_size=[8, 8], parameters=1, macs=1, milliseconds=None,
                 onnx_milliseconds=None, others={}, seeds=len(own),
                 metrics=[dict(name=AP, label='AP', runs=len(own), mean=100 * np.mean(own))])
            for name, own in values.items()]
    return made, runs


def test_differences_are_paired_by_seed():
    # From seed to seed both move by far more than their difference does.
    made, runs = networks({'ours': [.11, .52, .93], 'theirs': [.10, .50, .90], 'one': [.7]})
    add_intervals(made, runs, 'theirs')
    head, lines = task_rows(made, 'theirs')
    assert head[:3] == ['backbone', 'AP, %', 'against theirs']
    assert [line[2] for line in lines] == ['+2.0 [-0.5,\xa0+4.5], cannot be told apart', '–', '–']
    assert lines[2][1] == '70.0', 'one seed has no interval'
    assert 'seeds alone' in ' '.join(interval_note(made))


def test_differences_are_paired_by_draw():
    """Where one image is hard for both, it moves their figures together."""
    made, runs = networks({'ours': [.50, .51], 'theirs': [.40, .41]})
    drawn = np.random.default_rng(0).normal(40, 15, 1000).clip(0, 90)
    for run in runs:
        run['resampled'] = {AP: packed(drawn + 10 * (run['backbone'] == 'ours'))}
    add_intervals(made, runs, 'theirs')
    metric = made[0]['metrics'][0]
    assert metric['interval']['high'] - metric['interval']['low'] > 50
    assert metric['difference']['low'] == pytest.approx(10) == pytest.approx(metric['difference']['high'])
    assert task_rows(made, 'theirs')[1][0][2].endswith(', better')
    assert 'bootstrap of 1,000 draws' in ' '.join(interval_note(made))
