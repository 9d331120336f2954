"""Screenshots of an exported page: ``python benchmarks/browser.py FOLDER --out PREFIX``.

FOLDER was written by ``mobileode export --format web``. It is served on this machine and opened in a headless Chromium,
which looks at the first example or at IMAGE; PREFIX_wide.png and PREFIX_phone.png show the result.
"""
import argparse
import base64
import functools
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from PIL import Image

#: Width, height, pixels of the screen to one of the page, and whether it is a phone.
SCREENS = dict(wide=(1000, 760, 1, False), phone=(390, 844, 1, True))
#: Status line of the page once an image was timed.
DONE = r'/ px$/.test(document.getElementById("status").textContent)'


class Quiet(SimpleHTTPRequestHandler):
    """What ``python -m http.server`` runs, without a line for each request."""

    def log_message(self, *_):
        pass


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a folder, while it is served on this machine."""
    server = ThreadingHTTPServer(('127.0.0.1', 0), functools.partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f'http://127.0.0.1:{server.server_port}/'
    finally:
        server.shutdown()
        server.server_close()


def find_chromium() -> str | None:
    """Path of Chromium or Chrome, where there is one."""
    return next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)


class Browser:
    """One page of a headless Chromium, which is spoken to by DevTools' protocol over a pipe.

    Args:
        flags: More flags of Chromium.
    """

    def __init__(self, *flags: str):
        chromium = find_chromium()
        if chromium is None:
            raise FileNotFoundError('no Chromium is installed')
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        (read, self._to), (self._from, write) = os.pipe(), os.pipe()
        # Chromium reads the file 3 and writes to the file 4, whatever those are in this process.
        self._process = subprocess.Popen(
            ['bash', '-c', f'exec 3<&{read} 4>&{write}; exec "$@"', 'bash', chromium, '--headless', '--no-sandbox',
             '--disable-gpu', '--disable-dev-shm-usage', '--hide-scrollbars', '--remote-debugging-pipe',
             f'--user-data-dir={self._profile.name}', *flags],
            pass_fds=(read, write), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(read)
        os.close(write)
        self._answers = os.fdopen(self._from, 'rb')
        self._number, self._session = 0, {}
        target = self.call('Target.createTarget', url='about:blank')['targetId']
        attached = self.call('Target.attachToTarget', targetId=target, flatten=True)
        self._session = dict(sessionId=attached['sessionId'])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._session = {}
        self.call('Browser.close')
        self._process.wait(30)
        os.close(self._to)
        self._answers.close()
        self._profile.cleanup()

    def call(self, method: str, **parameters) -> dict:
        """The result of a method of the protocol; RuntimeError where it fails."""
        self._number += 1
        message = dict(id=self._number, method=method, params=parameters, **self._session)
        os.write(self._to, json.dumps(message).encode() + b'\0')
        while True:
            answer = json.loads(self._next())
            if answer.get('id') == self._number:
                if 'error' in answer:
                    raise RuntimeError(f'{method}: {answer["error"]["message"]}')
                return answer['result']

    def _next(self) -> bytes:
        message = bytearray()
        while (byte := self._answers.read(1)) != b'\0':
            if not byte:
                raise RuntimeError('Chromium has ended')
            message += byte
        return bytes(message)

    def evaluate(self, expression: str):
        """The value of an expression of JavaScript in the page, awaited; RuntimeError where it throws."""
        done = self.call('Runtime.evaluate', expression=expression, returnByValue=True, awaitPromise=True)
        if 'exceptionDetails' in done:
            details = done['exceptionDetails']
            raise RuntimeError(details.get('exception', {}).get('description', details['text']))
        return done['result'].get('value')

    def wait(self, condition: str, seconds: float = 60) -> None:
        """Wait until an expression is true; TimeoutError, with the page's text, where it stays false."""
        end = time.monotonic() + seconds
        while not self.evaluate(condition):
            if time.monotonic() > end:
                raise TimeoutError(f'{condition} is false: {self.evaluate("document.body.innerText")}')
            time.sleep(0.1)

    def open(self, address: str) -> None:
        """Go to an address, and wait until it is there."""
        self.call('Page.navigate', url=address)
        self.wait(f'location.href === {json.dumps(address)} && document.readyState === "complete"')

    def choose(self, selector: str, file: Path) -> None:
        """Choose a file in an input."""
        document = self.call('DOM.getDocument')['root']['nodeId']
        node = self.call('DOM.querySelector', nodeId=document, selector=selector)['nodeId']
        self.call('DOM.setFileInputFiles', nodeId=node, files=[str(file.absolute())])

    def screen(self, width: int, height: int, scale: int, mobile: bool) -> None:
        """Have a screen of this size, in pixels of the page."""
        self.call('Emulation.setDeviceMetricsOverride', width=width, height=height, deviceScaleFactor=scale,
                  mobile=mobile)

    def screenshot(self) -> bytes:
        """A PNG of what the screen shows."""
        return base64.b64decode(self.call('Page.captureScreenshot', format='png')['data'])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('folder', type=Path)
    parser.add_argument('--image', type=Path, help='image to look at (default: the first example)')
    parser.add_argument('--out', required=True, metavar='PREFIX')
    args = parser.parse_args()
    for found, fault in ((find_chromium(), 'no Chromium is installed'),
                         ((args.folder / 'network.json').is_file(), f'{args.folder} holds no page of --format web')):
        if not found:
            print(f'error: {fault}', file=sys.stderr)
            return 2
    with served(args.folder) as address, Browser() as browser:
        for name, screen in SCREENS.items():
            browser.screen(*screen)
            browser.open(address)
            if args.image:
                browser.wait('!document.getElementById("file").disabled')
                browser.choose('#file', args.image)
            browser.wait(DONE)
            # 256 colours are a third of the bytes.
            with Image.open(io.BytesIO(browser.screenshot())) as image:
                image.convert('RGB').quantize(256).save(f'{args.out}_{name}.png', optimize=True)
            print(name, browser.evaluate('document.body.innerText'), sep='\n')
    return 0


if __name__ == '__main__':
    sys.exit(main())
