#!/usr/bin/env bash
# ffmpeg 9.0.2 (of imageio-ffmpeg 0.8.1) reads a WebVTT cue and writes it as WebVTT again: the text changes.
# The escapes are undone and not made again, so that the words "&lt;b&gt;" become a tag; a brace gets a
# backslash and an empty pair of braces, and a backslash an invisible U+2060 (ASS's notation, which is ffmpeg's
# own form of a subtitle). A second pass through ffmpeg drops the tag from the text.
set -euo pipefail
dir=$(mktemp -d) && trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check imageio-ffmpeg==0.8.1
ffmpeg=$("$dir/venv/bin/python" -c 'import imageio_ffmpeg; print(imageio_ffmpeg.get_ffmpeg_exe())')
printf 'WEBVTT\n\n00:00.000 --> 00:02.000\nuse &lt;pre&gt; {x} C:\\new\n' >"$dir/1.vtt"
for pass in 1 2; do
  "$ffmpeg" -v error -i "$dir/$pass.vtt" "$dir/$((pass + 1)).vtt" </dev/null
done
seen=$(for pass in 1 2 3; do sed -n 4p "$dir/$pass.vtt" | LC_ALL=C sed 's/\xe2\x81\xa0/[U+2060]/g'; done)
echo "$seen"
[ "$seen" = "use &lt;pre&gt; {x} C:\\new
use <pre> \\{{}x} C:\\[U+2060]new
use  \\[U+2060]\\{{}\\{{}}x} C:\\[U+2060][U+2060]new" ]
