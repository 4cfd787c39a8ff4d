#!/usr/bin/env bash
# SubRip has no escapes, and its tags (<b>, <i>, <u>) are a habit, not a grammar. What readers make of the cue
# text "if a < b > c": ffmpeg 9.0.2 (of imageio-ffmpeg 0.8.1) and pysubs2 1.8.1 take "< b >", with its blanks,
# for bold and print the rest so; webvtt-py 0.6.0 leaves it out. srt 3.5.3 and pycaption 2.3.14 keep the text.
set -euo pipefail
dir=$(mktemp -d) && trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check \
  pysubs2==1.8.1 srt==3.5.3 webvtt-py==0.6.0 pycaption==2.3.14 imageio-ffmpeg==0.8.1
printf '1\n00:00:00,000 --> 00:00:02,000\nif a < b > c\n' >"$dir/cue.srt"
seen=$("$dir/venv/bin/python" - "$dir/cue.srt" 2>/dev/null <<'PYTHON'
import subprocess
import sys

import imageio_ffmpeg
import pycaption
import pysubs2
import srt
import webvtt

path = sys.argv[1]
text = open(path, encoding="utf-8").read()
captions = pycaption.SRTReader().read(text)
ffmpeg = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", path, "-f", "srt", "-"]
print("ffmpeg:", subprocess.run(ffmpeg, capture_output=True, text=True, check=True).stdout.splitlines()[2])
print("pysubs2:", pysubs2.load(path)[0].text)
print("webvtt-py:", webvtt.from_srt(path)[0].text)
print("srt:", next(srt.parse(text)).content)
print("pycaption:", captions.get_captions(captions.get_languages()[0])[0].get_text())
PYTHON
)
echo "$seen"
[ "$seen" = "ffmpeg: if a <b> c</b>
pysubs2: if a {\\b1} c
webvtt-py: if a  c
srt: if a < b > c
pycaption: if a < b > c" ]
