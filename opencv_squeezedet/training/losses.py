"""Loss functions for detectors: the published loss, and a task-aligned loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from opencv_squeezedet.config import HeadConfig
from opencv_squeezedet.training.parallel import summed
from opencv_squeezedet.training.predictions import Anchors, Predictions, anchors_of, ciou_loss, decode_xyxy, iou_xyxy


class Targets(NamedTuple):
    """The objects of a batch, a row each."""

    picture: Tensor  # (M,) int64, index in the batch
    xyxy: Tensor  # (M, 4) float32, input pixels
    classes: Tensor  # (M, C) float32, probability of each class: 0 or 1, or a teacher's soft label; rows sum to 1
    quality: Tensor  # (M,) float32, probability of the object; 0: ignored, neither object nor background; -1: ignored region


class Losses(NamedTuple):
    """The three parts of the loss, which are summed."""

    box: Tensor
    classes: Tensor
    confidence: Tensor


class Assigned(NamedTuple):
    """The anchors assigned to objects, a pair a row."""

    picture: Tensor  # (P,) int64, index in the batch
    anchor: Tensor  # (P,) int64, index in the order of the blobs
    target: Tensor  # (P,) int64, row of the targets
    score: Tensor  # (P,) float32, target of the confidence


@dataclass
class Loss(ABC):
    """A loss function for a head."""

    config: HeadConfig

    def __post_init__(self) -> None:
        """Compute the anchors."""
        self._anchors = anchors_of(self.config)

    @abstractmethod
    def __call__(self, predicted: Predictions, targets: Targets) -> Losses:
        """Return this process's part of the loss of a batch; the sum over all processes is the loss of the whole batch."""

    @abstractmethod
    def assigned(self, predicted: Predictions, targets: Targets) -> Assigned:
        """Return the anchors that are assigned to objects."""

    def anchors_and_boxes(self, deltas: Tensor) -> tuple[Anchors, Tensor]:
        """Return the anchors on the device of some deltas (N, A, 4), and the boxes, without a gradient."""
        anchors = Anchors(*(tensor.to(deltas.device) for tensor in self._anchors))
        with torch.no_grad():
            return anchors, decode_xyxy(deltas, anchors.centers, anchors.sizes, self.config)


@dataclass
class AlignedLoss(Loss):
    """Assigns several anchors to each object, those that already fit it best; aligned confidence, soft classes, CIoU.

    After the task-aligned assignment of TOOD (Feng et al., arXiv:2108.07755): anchors whose centre lies in the object are
    ranked by score^alpha * IoU^beta of their predicted boxes, and the best ``candidates`` of each object are assigned to it.
    The target of their confidence is that alignment, scaled so that that of the best anchor is its IoU. Objects of all sizes
    have the same weight, and the confidence learns the order in which average precision ranks detections.
    """

    class_weights: Tensor | None = None  # (C,), weight of the class loss for objects of each class
    candidates: int = 10  # anchors per object
    alpha: float = 0.5
    beta: float = 5.0
    box: float = 5.0  # weights of the three parts
    classes: float = 1.0
    confidence: float = 1.0

    def __call__(self, predicted: Predictions, targets: Targets) -> Losses:
        """Return the loss of a batch; it is finite even if no picture has an object."""
        anchors, boxes = self.anchors_and_boxes(predicted.deltas)
        assigned = self.assigned(predicted, targets)
        where = assigned.picture, assigned.anchor
        wanted = torch.zeros_like(predicted.confidence)
        wanted[where] = assigned.score
        weight = ((~_overlapped(boxes, targets, targets.quality <= 0)) | (wanted > 0)).float()
        total = summed(assigned.score.sum()).clamp(min=1.0)
        confidence = functional.binary_cross_entropy_with_logits(predicted.confidence, wanted, weight, reduction="sum")

        truth = targets.classes[assigned.target]
        classes = -(truth * predicted.classes[where].log_softmax(-1)).sum(-1) * assigned.score
        if self.class_weights is not None:
            classes = classes * (truth @ self.class_weights.to(truth.device))
        assigned_boxes = decode_xyxy(
            predicted.deltas[where], anchors.centers[assigned.anchor], anchors.sizes[assigned.anchor], self.config
        )
        box = ciou_loss(assigned_boxes, targets.xyxy[assigned.target]) * assigned.score
        return Losses(self.box * box.sum() / total, self.classes * classes.sum() / total, self.confidence * confidence / total)

    def assigned(self, predicted: Predictions, targets: Targets) -> Assigned:
        """Return the anchors that are assigned to objects."""
        anchors, boxes = self.anchors_and_boxes(predicted.deltas)
        objects = torch.nonzero(targets.quality > 0).squeeze(1)
        picture, truth = targets.picture[objects], targets.xyxy[objects]
        row, column = torch.nonzero(_inside(anchors, truth), as_tuple=True)  # few of all pairs
        where = picture[row], column
        overlap = iou_xyxy(boxes[where], truth[row])
        with torch.no_grad():
            chance = (predicted.classes[where].softmax(-1) * targets.classes[objects][row]).sum(-1)
            score = predicted.confidence[where].sigmoid() * chance
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
class PublishedLoss(Loss):
    """SqueezeDetLoss, the loss of the 2017 networks (Wu et al., arXiv:1612.01051, section 3.2, as in Caffe).

    One anchor is assigned to each object: of the anchors that are not assigned yet, the one whose predicted box overlaps it
    most or, if none does, the one with the smallest deltas. The loss is the squared error of the deltas and of the confidence
    against the IoU, and the cross entropy of the class. Pictures without objects count as background; the published loss
    divides by zero for them. The head must be without ``exp_threshold``, because the targets of sizes are logarithms.
    """

    box: float = 5.0  # weights of deltas, of confidence with an object, and of confidence without an object
    positive: float = 75.0
    negative: float = 100.0

    def __call__(self, predicted: Predictions, targets: Targets) -> Losses:
        """Return the loss of a batch."""
        anchors, _ = self.anchors_and_boxes(predicted.deltas)
        assigned = self.assigned(predicted, targets)
        where = assigned.picture, assigned.anchor
        left = torch.ones_like(predicted.confidence)
        left[where] = 0
        count = max(1, int(summed(left.new_tensor(len(assigned.anchor)))))
        confidence = predicted.confidence.sigmoid()
        with_object = self.positive / count * (confidence[where] - assigned.score).square().sum()
        without = self.negative / summed(left.sum()).clamp(min=1) * (confidence.square() * left).sum()

        chance = predicted.classes[where].softmax(-1)
        classes = -(targets.classes[assigned.target] * (chance + 1e-7).log()).sum() / count

        wanted = self._deltas(anchors, assigned.anchor, targets.xyxy[assigned.target])
        box = self.box / count * (predicted.deltas[where] - wanted).square().sum()
        return Losses(box, classes, with_object + without)

    def assigned(self, predicted: Predictions, targets: Targets) -> Assigned:
        """Return the anchors that are assigned to objects."""
        anchors, boxes = self.anchors_and_boxes(predicted.deltas)
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
    """Whether each predicted box (N, A) has an IoU above 0.5 with a chosen object, or lies mostly in a region."""
    covered = boxes.new_zeros(boxes.shape[:2], dtype=torch.bool)
    for row in torch.nonzero(which).flatten().tolist():
        near, truth = boxes[targets.picture[row]], targets.xyxy[row]
        if targets.quality[row] < 0:  # the box's IoU with its part in the region is the share of that part
            low, high = torch.maximum(near[:, :2], truth[:2]), torch.minimum(near[:, 2:], truth[2:])
            truth = torch.cat([low, high], 1)
        covered[targets.picture[row]] |= iou_xyxy(near, truth) > 0.5
    return covered
