"""Checkpoints by URL: fetched once, whole or not at all, and read as restricted as a file."""
import contextlib
import http.server
import os
import threading

import pytest
import torch
from mmengine.runner import CheckpointLoader

from mobileode_mm.checkpoints.fetching import fetch
from mobileode_mm.checkpoints.reading import read_checkpoint, restricted_loading
from mobileode_mm.errors import InputError


class RunsCode:

    def __reduce__(self):
        return os.makedirs, ('made', 0o777, True)


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves the current folder; of ``short``, less than it announces."""

    def do_GET(self):
        self.server.asked.append(self.path)
        if self.path != '/short':
            return super().do_GET()
        self.send_response(200)
        self.send_header('Content-Length', '1000')
        self.end_headers()
        self.wfile.write(b'x' * 10)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Its address; the requests are in its ``asked``."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'cache'))
    monkeypatch.setattr(torch.hub, '_hub_dir', None)
    server = http.server.HTTPServer(('127.0.0.1', 0), Handler)
    server.asked, server.url = [], f'http://127.0.0.1:{server.server_port}'
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with contextlib.closing(server.socket):
        yield server
        server.shutdown()


def test_a_checkpoint_is_fetched_once(server):
    torch.save(dict(state_dict=dict(weight=torch.arange(3))), 'a.pth')
    os.mkdir('other')
    torch.save(dict(state_dict=dict(weight=torch.arange(4))), 'other/a.pth')
    for _ in range(2):
        assert len(read_checkpoint(f'{server.url}/a.pth')['state_dict']['weight']) == 3
        with restricted_loading():  # as a Runner, or an init_cfg, asks for it
            assert len(CheckpointLoader.load_checkpoint(f'{server.url}/other/a.pth')['state_dict']['weight']) == 4
    assert sorted(server.asked) == ['/a.pth', '/other/a.pth']


def test_code_in_it_is_not_run(server):
    torch.save(dict(state_dict=dict(weight=torch.zeros(3)), meta=RunsCode()), 'bad.pth')
    for read in (read_checkpoint, CheckpointLoader.load_checkpoint):
        with restricted_loading(), pytest.raises(InputError, match='reading such objects can run any code'):
            read(f'{server.url}/bad.pth')
    assert not os.path.exists('made')
    read_checkpoint(f'{server.url}/bad.pth', trust=True)
    assert os.path.isdir('made')


@pytest.mark.parametrize('path, reported', [('absent.pth', 'not found'), ('short', 'it broke off')])
def test_nothing_is_left_of_what_does_not_come_whole(server, path, reported):
    with pytest.raises(InputError, match=f'{path} cannot be fetched .*{reported}.*bring the file here by other means'):
        fetch(f'{server.url}/{path}', 'copy')
    assert not os.listdir()


def test_addresses_that_are_refused(server):
    with pytest.raises(InputError, match='knows no weights of this name'):
        read_checkpoint('torchvision://no_such_network')
    with pytest.raises(InputError, match='of addresses only http, https'):
        read_checkpoint('s3://bucket/a.pth')
