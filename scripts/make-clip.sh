#!/usr/bin/env bash
# Makes the sample clip tests/media/clip.mp4 anew: twelve seconds of H.264 and AAC, drawn and played by ffmpeg's own
# sources (a slow zoom into the Mandelbrot set, two sine voices), so that it is nobody else's work.
set -euo pipefail
cd "$(dirname "$0")/.."
ffmpeg -hide_banner -loglevel error -y \
    -f lavfi -i "mandelbrot=size=480x270:rate=25:end_scale=0.03:end_pts=300" \
    -f lavfi -i "sine=frequency=220:sample_rate=44100" -f lavfi -i "sine=frequency=277.18:sample_rate=44100" \
    -filter_complex "[1:a][2:a]amix=inputs=2,volume=0.4,afade=t=out:st=11:d=1[a]" -map 0:v -map "[a]" -t 12 \
    -c:v libx264 -preset slow -crf 36 -pix_fmt yuv420p -profile:v main -g 50 -c:a aac -b:a 64k -ac 1 \
    -movflags +faststart -metadata title="Reelstore sample clip" -fflags +bitexact -flags:v +bitexact -flags:a +bitexact \
    tests/media/clip.mp4
