"""Plays URL with GStreamer, seeks to each of PLACES (seconds) and then near the end, and prints a line of JSON: the duration, where it was after each
seek, and whether the end came. gstreamer.py URL PLACE..."""
import json
import sys

import gi

gi.require_version("Gst", "1.0")
from gi.repository import Gst  # noqa: E402

SECOND = Gst.SECOND
Gst.init(None)


def fail(text):
    sys.exit(f"gstreamer: {text}")


def main(url, places):
    playbin = Gst.ElementFactory.make("playbin")
    sink = lambda: Gst.parse_bin_from_description("fakesink sync=true", True)
    playbin.set_property("video-sink", sink())
    playbin.set_property("audio-sink", sink())
    playbin.set_property("uri", url)
    bus = playbin.get_bus()

    def wait(kinds, seconds=30):
        message = bus.timed_pop_filtered(seconds * SECOND, kinds | Gst.MessageType.ERROR)
        if message is None:
            fail(f"nothing of {kinds} came in {seconds} s")
        if message.type == Gst.MessageType.ERROR:
            fail(message.parse_error())
        return message

    def wait_state():
        wait(Gst.MessageType.ASYNC_DONE)

    def position():
        return playbin.query_position(Gst.Format.TIME)[1] / SECOND

    def plays_on(begin):
        """The clock goes on from BEGIN."""
        for _ in range(200):
            message = bus.timed_pop_filtered(SECOND // 10, Gst.MessageType.ERROR)
            if message:
                fail(message.parse_error())
            if begin - 0.1 <= position() <= begin + 10 and position() > begin + 0.2:
                return position()
        fail(f"does not play on at {begin}, but at {position()}")

    playbin.set_state(Gst.State.PLAYING)
    wait_state()
    found = {"duration": playbin.query_duration(Gst.Format.TIME)[1] / SECOND, "begin": plays_on(0), "places": []}
    for place in places:
        if not playbin.seek_simple(Gst.Format.TIME, Gst.SeekFlags.FLUSH | Gst.SeekFlags.ACCURATE, int(place * SECOND)):
            fail(f"refuses to seek to {place}")
        wait_state()
        found["places"].append(plays_on(place))
    playbin.seek_simple(Gst.Format.TIME, Gst.SeekFlags.FLUSH | Gst.SeekFlags.ACCURATE, int((found["duration"] - 1) * SECOND))
    wait(Gst.MessageType.EOS)
    found["end"] = True
    playbin.set_state(Gst.State.NULL)
    print(json.dumps(found))


main(sys.argv[1], [float(place) for place in sys.argv[2:]])
