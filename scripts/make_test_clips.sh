#!/bin/sh
# Makes the clips of tests/clips with ffmpeg and x264, libvpx and libaom: colour patterns only, no camera, no sound.
# Run from the repository's root; the tests need its output, not ffmpeg.
set -eu
out=tests/clips
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

make() { ffmpeg -nostdin -hide_banner -loglevel error -y -threads 1 "$@"; }

# Frame n of 20 is grey level 20 + 10 n above and red to blue below: its place in time and what is up can be read off.
ramp() {
    above='20+10*N\,'
    echo "nullsrc=s=$1x$2:r=10:d=2,format=rgb24,geq=r=if(lt(Y\,H/2)\,${above}255*lt(X\,W/2)):g=if(lt(Y\,H/2)\,${above}0):b=if(lt(Y\,H/2)\,${above}255*gte(X\,W/2))"
}

plain="-an -map_metadata -1 -fflags +bitexact -flags:v +bitexact -pix_fmt yuv420p"
h264="-c:v libx264 -preset veryslow -crf 32 $plain"
front="-movflags +faststart"
make -f lavfi -i "$(ramp 160 120)" -c:v ffv1 "$work/wide.mkv"
make -f lavfi -i "$(ramp 120 160)" -c:v ffv1 "$work/tall.mkv"

make -i "$work/wide.mkv" $h264 $front "$out/h264.mp4"
make -i "$work/wide.mkv" $h264 $front "$out/h264.mov"
make -i "$work/wide.mkv" -c:v libvpx-vp9 -b:v 0 -crf 40 $plain "$out/vp9.webm"
make -i "$work/wide.mkv" -c:v libvpx -b:v 60k -crf 20 $plain "$out/vp8.webm"
make -i "$work/wide.mkv" -c:v mpeg4 -q:v 6 $plain "$out/mpeg4.avi"
make -i "$work/wide.mkv" -c:v libtheora -q:v 5 $plain "$out/theora.ogv"
make -i "$work/wide.mkv" -vf "scale=80:60,split[a][b];[a]palettegen[p];[b][p]paletteuse=dither=none" "$out/moving.gif"
make -i "$work/wide.mkv" -c:v libaom-av1 -cpu-used 8 -crf 50 $plain $front "$out/av1.mp4"
make -i "$work/wide.mkv" -c:v libaom-av1 -cpu-used 8 -crf 50 $plain "$out/av1.webm"

# A phone held upright stores its picture lying on its side, with a quarter turn in the header.
make -i "$work/tall.mkv" -vf transpose=cclock $h264 "$work/lying.mp4"
make -i "$work/lying.mp4" -c copy -fflags +bitexact -metadata:s:v rotate=270 $front "$out/rotated.mp4"

# Frames at 0, 0.1 ... 0.9 s, then one every half second to 5.9 s: a rate that varies.
make -i "$work/wide.mkv" -vf "setpts='if(lt(N,10),N*0.1,0.9+(N-9)*0.5)/TB'" -fps_mode vfr $h264 $front "$out/varying.mp4"

make -f lavfi -i "color=navy:s=64x48:r=1:d=600" $h264 $front "$out/ten-minutes.mp4"
make -f lavfi -i "color=black:s=3840x2160:r=10:d=0.2" $h264 $front "$out/four-k.mp4"
make -f lavfi -i "color=navy:s=64x48:r=10:d=0.4" $h264 $front "$out/smallest.mp4"
make -f lavfi -i "color=navy:s=64x48:r=10:d=1" -vf select=0 $h264 "$out/no-frames.mp4"

# A clip that was trimmed without being encoded anew: the cut frames are still there, hidden by an edit list.
make -ss 1.05 -i "$out/h264.mp4" -c copy -fflags +bitexact $front "$out/trimmed.mp4"

# Cut off: with the index at the front some frames can be shown, with the index at the end none.
cut() { head -c "$(($(wc -c <"$1") * $3 / 100))" "$1" >"$2"; }
make -i "$work/wide.mkv" $h264 -g 2 -bf 0 $front "$work/front.mp4"
cut "$work/front.mp4" "$out/cut.mp4" 75
make -i "$work/wide.mkv" $h264 "$work/end.mp4"
cut "$work/end.mp4" "$out/cut-index.mp4" 50
cut "$out/vp8.webm" "$out/cut.webm" 50
cut "$out/theora.ogv" "$out/cut.ogv" 75
