#!/usr/bin/env bash
# SubRip times of a recording that lasts a week, such as 100:00:01,000 --> 100:00:03,000. pysubs2 1.8.1 takes
# the last two digits of the hours for all of them and reads 00:00:01, without an error; srt 3.5.3, pysrt 1.1.2,
# webvtt-py 0.6.0, pycaption 2.3.14 and ffmpeg 9.0.2 (of imageio-ffmpeg 0.8.1) read 100 hours. In WebVTT, whose
# grammar allows two or more digits, pysubs2 reads them, too.
set -euo pipefail
dir=$(mktemp -d) && trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check \
  pysubs2==1.8.1 srt==3.5.3 pysrt==1.1.2 webvtt-py==0.6.0 pycaption==2.3.14 imageio-ffmpeg==0.8.1
printf '1\n100:00:01,000 --> 100:00:03,000\nlate\n' >"$dir/week.srt"
printf 'WEBVTT\n\n100:00:01.000 --> 100:00:03.000\nlate\n' >"$dir/week.vtt"
seen=$("$dir/venv/bin/python" - "$dir" 2>/dev/null <<'PYTHON'
import subprocess
import sys

import imageio_ffmpeg
import pycaption
import pysrt
import pysubs2
import srt
import webvtt

srt_path, vtt_path = f"{sys.argv[1]}/week.srt", f"{sys.argv[1]}/week.vtt"
text = open(srt_path, encoding="utf-8").read()
captions = pycaption.SRTReader().read(text)
ffmpeg = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", srt_path, "-f", "srt", "-"]
print("pysubs2:", pysubs2.load(srt_path)[0].start // 1000)
print("pysubs2, WebVTT:", pysubs2.load(vtt_path)[0].start // 1000)
print("srt:", int(next(srt.parse(text)).start.total_seconds()))
print("pysrt:", pysrt.open(srt_path)[0].start.ordinal // 1000)
print("webvtt-py:", webvtt.from_srt(srt_path)[0].start)
print("pycaption:", captions.get_captions(captions.get_languages()[0])[0].start // 1_000_000)
print("ffmpeg:", subprocess.run(ffmpeg, capture_output=True, text=True, check=True).stdout.splitlines()[1])
PYTHON
)
echo "$seen"
[ "$seen" = "pysubs2: 1
pysubs2, WebVTT: 360001
srt: 360001
pysrt: 360001
webvtt-py: 100:00:01.000
pycaption: 360001
ffmpeg: 100:00:01,000 --> 100:00:03,000" ]
