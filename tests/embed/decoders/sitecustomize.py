"""A decoder that a photo makes misbehave, in every process that has this folder on PYTHONPATH.

A photo is a text of three lines: ODDPHOTO; `kill`, which ends the process, `talk`, which prints as
libraries in C do, or `wait`, which goes on once a file exists; the path of that file. FILE.held
lists the processes that held the photo.
"""

import os
import signal
import time
from pathlib import Path

from PIL import Image, ImageFile

from mcad_mobile.data import photo_formats

MARK = b"ODDPHOTO"


class OddPhoto(ImageFile.ImageFile):
    format = "ODD"

    def _open(self):
        _, action, where = self.fp.read().decode().splitlines()
        with Path(f"{where}.held").open("a") as held:
            held.write(f"{os.getpid()}\n")
        if action == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if action == "talk":
            os.write(1, b"printed by a decoder\n")
        while action == "wait" and not Path(where).exists():
            time.sleep(0.02)
        self._mode, self._size = "RGB", (8, 8)

    def load(self):
        self._im = Image.new("RGB", self._size, (200, 30, 60)).im
        return Image.Image.load(self)


Image.register_open("ODD", OddPhoto, lambda prefix: prefix.startswith(MARK))
# Files are opened as what Pillow is known to read, and as nothing else.
photo_formats.FORMATS = {**photo_formats.FORMATS, "ODD": ()}
