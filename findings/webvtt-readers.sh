#!/usr/bin/env bash
# WebVTT (W3C) writes "<" and "&" in a cue as "&lt;" and "&amp;", and names the speaker in a tag, <v Alice>.
# Of six readers three leave the escapes in the text (pysubs2 1.8.1, webvtt-py 0.6.0, subtitle-parser 2.0.1),
# and three drop the speaker (pysubs2, ttconv 1.2.3, ffmpeg 9.0.2 of imageio-ffmpeg 0.8.1). pycaption 2.3.14
# alone shows both as a browser would; subtitle-parser leaves the whole tag in the text.
set -euo pipefail
dir=$(mktemp -d) && trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check \
  pysubs2==1.8.1 webvtt-py==0.6.0 subtitle-parser==2.0.1 ttconv==1.2.3 pycaption==2.3.14 imageio-ffmpeg==0.8.1
printf 'WEBVTT\n\n00:00:00.000 --> 00:00:02.000\n<v Alice>a &lt; b &amp; c\n' >"$dir/cue.vtt"
seen=$("$dir/venv/bin/python" - "$dir/cue.vtt" 2>/dev/null <<'PYTHON'
import subprocess
import sys

import imageio_ffmpeg
import pycaption
import pysubs2
import ttconv.srt.writer
import ttconv.vtt.reader
import webvtt
from subtitle_parser import WebVttParser

path = sys.argv[1]
text = open(path, encoding="utf-8").read()
captions = pycaption.WebVTTReader().read(text)
with open(path, encoding="utf-8") as file:
    parser = WebVttParser(file)
    parser.parse()
with open(path, encoding="utf-8") as file:
    model = ttconv.vtt.reader.to_model(file)
ffmpeg = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", path, "-f", "srt", "-"]
cue, event = webvtt.read(path)[0], pysubs2.load(path)[0]
print("pycaption:", captions.get_captions(captions.get_languages()[0])[0].get_text())
print("pysubs2:", event.text, f"(name {event.name!r})")
print("subtitle-parser:", parser.subtitles[0].text)
print("ttconv:", ttconv.srt.writer.from_model(model).splitlines()[2])
print("webvtt-py:", cue.text, f"(voice {cue.voice!r})")
print("ffmpeg:", subprocess.run(ffmpeg, capture_output=True, text=True, check=True).stdout.splitlines()[2])
PYTHON
)
echo "$seen"
[ "$seen" = "pycaption: Alice: a < b & c
pysubs2: a &lt; b &amp; c (name '')
subtitle-parser: <v Alice>a &lt; b &amp; c
ttconv: a < b & c
webvtt-py: a &lt; b &amp; c (voice 'Alice')
ffmpeg: a < b & c" ]
