# %% [markdown]
# # From three blobs to boxes
# A walk through the network's outputs and what the post-processing makes of them. Run it cell by cell in an editor that
# supports `# %%`, or as a whole: `python samples/three_blobs.py [photo.jpg]`. It writes `three_blobs.png`.

# %% The picture, and the network's three outputs
import sys
from pathlib import Path

import cv2
import numpy as np

import opencv_squeezedet as sd

path = sys.argv[1] if len(sys.argv) > 1 else str(Path(__file__).with_name("chelsea.jpg"))
image = cv2.imread(path)
detector = sd.SqueezeDet()
head = detector.config
delta_bbox, class_scores, conf_scores = detector.forward(image)
print(f"input {head.input_size}, grid {head.grid}, {len(head.anchors)} anchors per cell: {head.kernel.anchors} anchors")
print("delta_bbox  ", delta_bbox.shape, "four numbers per anchor: x, y, height, width, relative to it")
print("class_scores", class_scores.shape, "a probability for each class; each row sums to", class_scores[0, 0].sum().round(3))
print("conf_scores ", conf_scores.shape, "how likely an anchor holds any object, at most", conf_scores.max().round(3))

# %% Where the network is confident: the best of a cell's nine anchors. The first grid axis is the picture's x.
confident = conf_scores[0].max(axis=2).T
heat = cv2.applyColorMap((confident * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)
heat = cv2.resize(heat, image.shape[1::-1], interpolation=cv2.INTER_NEAREST)

# %% Score: confidence x the best class score
scores, class_ids = sd.score(class_scores, conf_scores, head)
best = np.argsort(-scores)[:5]
for anchor in best:
    cell, k = divmod(int(anchor), len(head.anchors))
    i, j = divmod(cell, head.grid[1])
    print(
        f"anchor {anchor}: cell x {i}, y {j}, shape {head.anchors[k]}, {head.labels[class_ids[anchor]]} {scores[anchor]:.3f}"
    )

# %% Calibrate: the probability that a detection is correct is a piecewise linear function of its raw score
raw, calibrated = np.array([(0, 0), *head.score_calibration, (1, 1)]).T
threshold = np.interp(head.score_threshold, calibrated, raw)
best_calibrated = np.interp(scores.max(), raw, calibrated)
print(
    f"best score: {best_calibrated:.3f} calibrated; the threshold of {head.score_threshold} is a raw score of {threshold:.3f}"
)

# %% Decode: every anchor's box; here the fifty best of those above the threshold, all around the same objects
boxes = sd.decode(delta_bbox, head)
strong = np.flatnonzero(scores > threshold)
scale = np.array([image.shape[1], image.shape[0]] * 2) / np.array(head.input_size * 2)
before = image.copy()
for x1, y1, x2, y2 in (boxes[strong[np.argsort(-scores[strong])[:50]]] * scale).round().astype(int):
    cv2.rectangle(before, (x1, y1), (x2, y2), (0, 255, 255), 1)

# %% NMS: of boxes of one class that overlap, the best one stays
kept = sd.nms(boxes[strong], scores[strong], class_ids[strong], nms_threshold=head.nms_threshold, nms_kind=head.nms_kind)
print(f"{len(strong)} anchors above {threshold:.3f}, {len(kept)} left by NMS at {head.nms_threshold}")

# %% The same in one pass
size = image.shape[1], image.shape[0]
plain = {"multi_label": False, "vote_threshold": 1, "cross_class_threshold": 1}  # these three steps are off: see below
same = sd.postprocess(delta_bbox, class_scores, conf_scores, head, image_size=size, **plain)
assert np.allclose(boxes[strong][kept] * scale, same.xyxy, atol=0.1)
print(same)

# %% With the model's own settings: every class of an anchor is a candidate, a kept box becomes the mean of the candidates
# that overlap it (box voting), and an object found under two classes is shown under one
found = sd.postprocess(delta_bbox, class_scores, conf_scores, head, image_size=size)
print(found)
cv2.imwrite("three_blobs.png", np.hstack([heat, before, sd.draw(image, found)]))
