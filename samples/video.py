"""Shows the objects in a video or a camera's picture in a window, with the frames per second; q quits.

python samples/video.py [film.mp4 | camera number]
"""

import sys
import time

import cv2

import opencv_squeezedet as sd


def main(source: str = "0") -> None:
    """Detect in every frame until the video ends or the user quits."""
    capture = cv2.VideoCapture(int(source) if source.isdecimal() else source)
    if not capture.isOpened():
        sys.exit(f"cannot open {source}")
    detector = sd.SqueezeDet()
    frames, start = 0, time.perf_counter()
    while True:
        more, frame = capture.read()
        if not more:
            break
        shown = sd.draw(frame, detector.detect(frame))
        frames += 1
        rate = frames / (time.perf_counter() - start)
        cv2.putText(shown, f"{rate:.0f} frames/s", (8, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (255, 255, 255), 2)
        cv2.imshow("SqueezeDet", shown)
        if cv2.waitKey(1) & 0xFF == ord("q"):
            break
    capture.release()
    cv2.destroyAllWindows()
    print(f"{frames} frames")


if __name__ == "__main__":
    main(*sys.argv[1:])
