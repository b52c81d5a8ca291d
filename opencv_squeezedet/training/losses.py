"""Loss functions for detectors: the published one, and a task-aligned one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from opencv_squeezedet.config import HeadConfig
from opencv_squeezedet.training.parallel import summed
from opencv_squeezedet.training.predictions import Anchors, Predictions, anchors_of, ciou_loss, decode_xyxy, iou_xyxy


class Targets(NamedTuple):
    """The objects of a batch, one row each.

    Parameters
    ----------
    picture : (M,) int64
        Index of the picture in the batch.
    xyxy : (M, 4) float32
        Boxes, input pixels.
    classes : (M, C) float32
        Probability of each class: 1 for a known class, or a teacher's soft label. Rows sum to 1.
    quality : (M,) float32
        Probability of the object; 0 marks an ignored one, which counts neither as an object nor as background, and -1 an
        ignored region of any number of objects.
    """

    picture: Tensor
    xyxy: Tensor
    classes: Tensor
    quality: Tensor


class Losses(NamedTuple):
    """The three parts of the loss, which are summed."""

    box: Tensor
    classes: Tensor
    confidence: Tensor


class Assigned(NamedTuple):
    """The anchors assigned to objects, one pair a row.

    Parameters
    ----------
    picture : (P,) int64
        Index of the picture in the batch.
    anchor : (P,) int64
        Index of the anchor, in the order of the blobs.
    target : (P,) int64
        Row of the targets.
    score : (P,) float32
        Target of the confidence.
    """

    picture: Tensor
    anchor: Tensor
    target: Tensor
    score: Tensor


class Loss(Protocol):
    """A loss function for a head."""

    config: HeadConfig

    def __call__(self, found: Predictions, targets: Targets) -> Losses:
        """Return this process's part of the loss of a batch; the sum over all processes is the loss of the whole batch."""

    def assigned(self, found: Predictions, targets: Targets) -> Assigned:
        """Return the anchors that are assigned to objects."""


@dataclass
class AlignedLoss:
    """Assigns several anchors to each object, those that already fit it best; aligned confidence, soft classes, CIoU.

    After the task-aligned assignment of TOOD (Feng et al., arXiv:2108.07755): anchors whose centre lies in the object are
    ranked by score^alpha * IoU^beta of their predicted boxes, and the best ``candidates`` of each object are assigned to it.
    The target of their confidence is that alignment, scaled so that the best one's is its IoU. Objects of all sizes have the
    same weight, and the confidence learns the order in which average precision ranks detections.

    Parameters
    ----------
    config : HeadConfig
        The head.
    class_weights : (C,) tensor, optional
        Weight of the class loss for objects of each class.
    candidates : int
        Anchors per object.
    alpha, beta : float
        Exponents of the alignment.
    box, classes, confidence : float
        Weights of the three parts.
    """

    config: HeadConfig
    class_weights: Tensor | None = None
    candidates: int = 10
    alpha: float = 0.5
    beta: float = 5.0
    box: float = 5.0
    classes: float = 1.0
    confidence: float = 1.0

    def __post_init__(self) -> None:
        """Compute the anchors."""
        self._anchors = anchors_of(self.config)

    def __call__(self, found: Predictions, targets: Targets) -> Losses:
        """Return the loss of a batch; it is finite even if no picture has an object."""
        anchors = _on(self._anchors, found.deltas.device)
        with torch.no_grad():
            boxes = decode_xyxy(found.deltas, anchors.centers, anchors.sizes, self.config)
            ignored = _overlapped(boxes, targets, targets.quality <= 0)
            assigned = self._assign(boxes, found, targets, anchors)
            wanted = torch.zeros_like(found.confidence)
            wanted[assigned.picture, assigned.anchor] = assigned.score
            weight = ((~ignored) | (wanted > 0)).float()
            total = summed(assigned.score.sum()).clamp(min=1.0)
        confidence = functional.binary_cross_entropy_with_logits(found.confidence, wanted, weight, reduction="sum")

        where = assigned.picture, assigned.anchor
        truth = targets.classes[assigned.target]
        classes = -(truth * found.classes[where].log_softmax(-1)).sum(-1) * assigned.score
        if self.class_weights is not None:
            classes = classes * (truth @ self.class_weights.to(truth.device))
        predicted = decode_xyxy(
            found.deltas[where], anchors.centers[assigned.anchor], anchors.sizes[assigned.anchor], self.config
        )
        box = ciou_loss(predicted, targets.xyxy[assigned.target]) * assigned.score
        return Losses(self.box * box.sum() / total, self.classes * classes.sum() / total, self.confidence * confidence / total)

    def assigned(self, found: Predictions, targets: Targets) -> Assigned:
        """Return the anchors that are assigned to objects."""
        anchors = _on(self._anchors, found.deltas.device)
        with torch.no_grad():
            boxes = decode_xyxy(found.deltas, anchors.centers, anchors.sizes, self.config)
            return self._assign(boxes, found, targets, anchors)

    def _assign(self, boxes: Tensor, found: Predictions, targets: Targets, anchors: Anchors) -> Assigned:
        objects = torch.nonzero(targets.quality > 0).squeeze(1)
        picture, truth = targets.picture[objects], targets.xyxy[objects]
        row, column = torch.nonzero(_inside(anchors, truth), as_tuple=True)  # few of all pairs
        where = picture[row], column
        overlap = iou_xyxy(boxes[where], truth[row])
        chance = (found.classes[where].softmax(-1) * targets.classes[objects][row]).sum(-1)
        score = found.confidence[where].sigmoid() * chance
        iou, metric = boxes.new_zeros((2, len(objects), boxes.shape[1]))  # objects x anchors
        iou[row, column] = overlap
        metric[row, column] = score.pow(self.alpha) * overlap.pow(self.beta)
        best, anchor = metric.topk(min(self.candidates, metric.shape[1]), dim=1)
        chosen = torch.zeros_like(metric).scatter_(1, anchor, (best > 0).to(metric.dtype))
        chosen = _one_object_each(chosen, iou, picture, len(boxes))
        metric, iou = metric * chosen, iou * chosen
        scale = iou.amax(1) / metric.amax(1).clamp(min=1e-12)
        row, column = torch.nonzero(metric, as_tuple=True)
        target = metric[row, column] * scale[row] * targets.quality[objects][row]
        return Assigned(picture[row], column, objects[row], target.clamp(max=1.0))


@dataclass
class PublishedLoss:
    """SqueezeDetLoss, the loss of the 2017 networks (Wu et al., arXiv:1612.01051, section 3.2, as in Caffe).

    One anchor is assigned to each object: of the anchors that are not assigned yet, the one whose predicted box overlaps it
    most or, if none does, the one with the smallest deltas. The loss is the squared error of the deltas and of the confidence
    against the IoU, and the cross entropy of the class. Pictures without objects count as background; the published loss
    divides by zero for them.

    Parameters
    ----------
    config : HeadConfig
        The head; without ``exp_threshold``, because the targets of sizes are logarithms.
    box, positive, negative : float
        Weights of deltas, of confidence with an object, and of confidence without one.
    """

    config: HeadConfig
    box: float = 5.0
    positive: float = 75.0
    negative: float = 100.0

    def __post_init__(self) -> None:
        """Compute the anchors."""
        self._anchors = anchors_of(self.config)

    def __call__(self, found: Predictions, targets: Targets) -> Losses:
        """Return the loss of a batch."""
        anchors = _on(self._anchors, found.deltas.device)
        with torch.no_grad():
            boxes = decode_xyxy(found.deltas, anchors.centers, anchors.sizes, self.config)
            assigned = self._assign(boxes, targets, anchors)
            left = torch.ones_like(found.confidence)
            left[assigned.picture, assigned.anchor] = 0
        where = assigned.picture, assigned.anchor
        count = max(1, int(summed(boxes.new_tensor(len(assigned.anchor)))))
        confidence = found.confidence.sigmoid()
        with_object = self.positive / count * (confidence[where] - assigned.score).square().sum()
        without = self.negative / summed(left.sum()).clamp(min=1) * (confidence.square() * left).sum()

        chance = found.classes[where].softmax(-1)
        classes = -(targets.classes[assigned.target] * (chance + 1e-7).log()).sum() / count

        wanted = self._deltas(anchors, assigned.anchor, targets.xyxy[assigned.target])
        box = self.box / count * (found.deltas[where] - wanted).square().sum()
        return Losses(box, classes, with_object + without)

    def assigned(self, found: Predictions, targets: Targets) -> Assigned:
        """Return the anchors that are assigned to objects."""
        anchors = _on(self._anchors, found.deltas.device)
        with torch.no_grad():
            boxes = decode_xyxy(found.deltas, anchors.centers, anchors.sizes, self.config)
            return self._assign(boxes, targets, anchors)

    def _assign(self, boxes: Tensor, targets: Targets, anchors: Anchors) -> Assigned:
        taken = torch.zeros(boxes.shape[:2], dtype=torch.bool, device=boxes.device)
        rows = torch.nonzero(targets.quality > 0).squeeze(1)
        chosen, scores = [], []
        for row in rows.tolist():
            picture, truth = int(targets.picture[row]), targets.xyxy[row]
            iou = iou_xyxy(boxes[picture], truth).masked_fill(taken[picture], -1.0)
            best = int(iou.argmax())
            if iou[best] <= 0:
                every = torch.arange(len(iou), device=iou.device)
                far = self._deltas(anchors, every, truth.expand(len(iou), 4)).square().sum(-1)
                best = int(far.masked_fill(taken[picture], torch.inf).argmin())
            taken[picture, best] = True
            chosen.append(best)
            scores.append(iou[best].clamp(min=0))
        anchor = torch.tensor(chosen, dtype=torch.int64, device=boxes.device)
        score = torch.stack(scores) if scores else boxes.new_zeros(0)
        return Assigned(targets.picture[rows], anchor, rows, score)

    def _deltas(self, anchors: Anchors, which: Tensor, truth: Tensor) -> Tensor:
        """The deltas of boxes (P, 4), whose sides are one pixel longer here than the distance of their corners."""
        sizes = anchors.sizes[which]
        middle = (truth[:, :2] + truth[:, 2:]) / 2
        logs = ((truth[:, 2:] - truth[:, :2] + 1) / sizes).log()
        if self.config.delta_order == "xyhw":
            logs = logs.flip(-1)
        return torch.cat([(middle - anchors.centers[which]) / sizes, logs], dim=-1)


def _on(anchors: Anchors, device: torch.device) -> Anchors:
    return Anchors(*(tensor.to(device) for tensor in anchors))


def _inside(anchors: Anchors, truth: Tensor) -> Tensor:
    """Whether each anchor centre lies in each box, or, for boxes smaller than a cell, within a cell of its centre."""
    middle, half = (truth[:, :2] + truth[:, 2:]) / 2, (truth[:, 2:] - truth[:, :2]) / 2
    reach = torch.maximum(half, anchors.strides)
    return ((anchors.centers - middle[:, None]).abs() < reach[:, None]).all(-1)


def _one_object_each(chosen: Tensor, iou: Tensor, picture: Tensor, pictures: int) -> Tensor:
    """Keep, for each anchor of a picture, only the assignment to the object that it overlaps most."""
    claimed = torch.where(chosen > 0, iou, -1.0)
    where = picture[:, None].expand_as(claimed)
    best = claimed.new_full((pictures, claimed.shape[1]), -1.0).scatter_reduce_(0, where, claimed, "amax")
    row = torch.arange(len(picture), device=picture.device)[:, None].expand_as(where)
    row = row.where(claimed >= best[picture], len(picture))
    first = row.new_full(best.shape, len(picture)).scatter_reduce_(0, where, row, "amin")  # of objects with the same box
    return chosen * (row == first[picture])


def _overlapped(boxes: Tensor, targets: Targets, which: Tensor) -> Tensor:
    """Whether each predicted box (N, A) has an IoU above 0.5 with one of the chosen objects, or lies mostly in a region."""
    covered = boxes.new_zeros(boxes.shape[:2], dtype=torch.bool)
    for row in torch.nonzero(which).flatten().tolist():
        near, truth = boxes[targets.picture[row]], targets.xyxy[row]
        if targets.quality[row] < 0:  # the box's IoU with its part in the region is the share of that part
            low, high = torch.maximum(near[:, :2], truth[:2]), torch.minimum(near[:, 2:], truth[2:])
            truth = torch.cat([low, high], 1)
        covered[targets.picture[row]] |= iou_xyxy(near, truth) > 0.5
    return covered
