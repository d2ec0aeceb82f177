"""Find moments of videos: made films of Flickr8k's test photos, and an hour of video.

    python -m benchmarks.videos --bundle build/cpu --data flickr8k

100 films of five photos each, 4 s a photo, slowly zoomed, with cuts and cross-fades, in three
codecs, a key frame each second as phones write them. Each caption of a photo is searched for in an
index of the films, and in one of the photos alone. Then one minute of 1080p is repeated for an
hour, and indexed on one thread. Writes benchmarks/results/videos.json.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
from PIL import Image

from benchmarks.main_job import provenance, store
from mcad_mobile.base.requirements import tool_versions
from mcad_mobile.data.captions import CaptionedPhoto, load_captions
from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.engine.engine import SearchEngine, create_index

RESULT = Path(__file__).parent / "results" / "videos.json"
FILMS, SCENES, SCENE_S, FADE_S = 100, 5, 4, 0.5
CODECS = {"libx264": "mp4", "libvpx-vp9": "webm", "libx265": "mkv"}
_SPEED = {
    "libx264": {"preset": "ultrafast"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8"},
    "libx265": {"preset": "ultrafast", "x265-params": "log-level=none"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    given = parser.parse_args()
    engine = SearchEngine(Bundle.load(given.bundle))
    photos = load_captions(given.data, "test")[: FILMS * SCENES]
    with tempfile.TemporaryDirectory() as folder:
        films: dict[str, Sequence[CaptionedPhoto]] = {}
        for number in range(FILMS):
            codec = list(CODECS)[number % len(CODECS)]
            path = Path(folder, "films", f"{number:03}.{CODECS[codec]}")
            path.parent.mkdir(exist_ok=True)
            films[str(path)] = photos[number * SCENES : (number + 1) * SCENES]
            film(path, codec, films[str(path)], (640, 480), fade=number % 2 == 1)
        moments = create_index(engine.bundle, Path(folder) / "moments")
        engine.index_folder(moments, Path(folder, "films"))
        alone = create_index(engine.bundle, Path(folder) / "photos")
        engine.index_photos(alone, [photo.path for photo in photos])
        home = {str(p.path.absolute()): path for path, scenes in films.items() for p in scenes}
        first, by_photo, near = [], [], []
        for path, scenes in films.items():
            for scene, photo in enumerate(scenes):
                for caption in photo.captions:
                    best = engine.search(moments, caption, 1).results[0]
                    first.append(best.path == path)
                    by_photo.append(home[engine.search(alone, caption, 1).results[0].path] == path)
                    if first[-1]:
                        every = engine.search(moments, caption, 40, moments=True).results
                        at = next(r.at_ms or 0 for r in every if r.path == path) / 1000
                        start = scene * SCENE_S
                        near.append(start - 3 <= at <= start + SCENE_S + 3)
        result = {
            **provenance(tool_versions(("onnxruntime", "numpy", "av"))),
            "films": {
                "films": FILMS,
                "moments": moments.photos,
                "captions": len(first),
                "film_first": 100 * float(np.mean(first)),
                "film_first_by_photos": 100 * float(np.mean(by_photo)),
                "moment_within_3_s": 100 * float(np.mean(near)),
            },
            "hour": hour(engine, Path(folder), photos[:15]),
        }
    store(result, RESULT)
    print(json.dumps(result, indent=2))


def film(
    path: Path, codec: str, scenes: Sequence[CaptionedPhoto], size: tuple[int, int], *, fade: bool
) -> None:
    """Write a film at 30 frames a second."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=30, options=_SPEED[codec])
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.gop_size = 30
        before = None
        for photo in scenes:
            image = Image.open(photo.path).convert("RGB")
            for number in range(SCENE_S * 30):
                zoom = 1 - 0.1 * number / (SCENE_S * 30)
                box = (0, 0, zoom * image.width, zoom * image.height)
                frame = image.resize(size, Image.Resampling.BILINEAR, box)
                if fade and before is not None and number < FADE_S * 30:
                    frame = Image.blend(before, frame, number / (FADE_S * 30))
                out.mux(stream.encode(av.VideoFrame.from_image(frame)))
            before = frame
        out.mux(stream.encode())


def hour(engine: SearchEngine, folder: Path, photos: Sequence[CaptionedPhoto]) -> dict[str, float]:
    """Index a minute of 1080p, repeated for an hour."""
    minute, whole = folder / "minute.mp4", folder / "hour" / "hour.mp4"
    whole.parent.mkdir()
    film(minute, "libx264", photos, (1920, 1080), fade=False)
    with av.open(str(whole), "w") as out:
        stream = None
        for repeat in range(60):
            with av.open(str(minute)) as part:
                (source,) = part.streams.video
                stream = stream or out.add_stream_from_template(source)
                for packet in part.demux(source):
                    if packet.pts is not None and packet.dts is not None:
                        packet.pts += round(repeat * 60 / source.time_base)
                        packet.dts += round(repeat * 60 / source.time_base)
                        packet.stream = stream
                        out.mux(packet)
    index = create_index(engine.bundle, folder / "an-hour")
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    started, own = time.perf_counter(), time.process_time()
    engine.index_folder(index, whole.parent)
    seconds, own = time.perf_counter() - started, time.process_time() - own
    decoder = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "megabytes": whole.stat().st_size / 1e6,
        "moments": index.photos,
        "seconds": seconds,
        "processor_seconds": own + decoder.ru_utime - children.ru_utime,
        "decoder_mib": decoder.ru_maxrss / 1024,
    }


if __name__ == "__main__":
    main()
