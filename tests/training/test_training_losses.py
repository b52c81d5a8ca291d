"""The losses: gradients by finite differences, values by hand, and who answers for whom."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import reference
from numpy.typing import NDArray

from opencv_squeezedet.config import HeadConfig

torch = pytest.importorskip("torch", reason="the extra [train] brings torch")

import training_cases  # noqa: E402, F401  (one thread)

from opencv_squeezedet.training.losses import AlignedLoss, Loss, PublishedLoss, Targets  # noqa: E402
from opencv_squeezedet.training.predictions import Predictions, anchors_of, ciou_loss, iou_xyxy  # noqa: E402

Array = NDArray[np.float64]

CONFIG = HeadConfig(input_size=(120, 90), grid=(3, 2), anchors=((30, 20), (40, 60)), labels=("a", "b", "c"))
ANCHORS, CLASSES = 12, 3
LOSSES = [AlignedLoss(CONFIG, candidates=3), PublishedLoss(CONFIG)]
by_name = pytest.mark.parametrize("loss", LOSSES, ids=["aligned", "published"])


def predicted(pictures: int = 2, seed: int = 0, size: float = 0.3) -> Predictions:
    rng = np.random.default_rng(seed)
    shapes = (pictures, ANCHORS, 4), (pictures, ANCHORS, CLASSES), (pictures, ANCHORS)
    return Predictions(*(torch.from_numpy(rng.normal(0, size, shape)) for shape in shapes))


def objects(*rows: tuple[int, list[float], int], quality: float = 1.0) -> Targets:
    picture, xyxy, classes = zip(*rows, strict=True) if rows else ((), (), ())
    return Targets(
        torch.tensor(picture, dtype=torch.int64),
        torch.tensor(xyxy, dtype=torch.float64).reshape(-1, 4),
        torch.eye(CLASSES, dtype=torch.float64)[list(classes)],
        torch.full((len(rows),), quality, dtype=torch.float64),
    )


SOME = objects((0, [10.0, 20, 55, 70], 0), (0, [60.0, 10, 110, 80], 2), (1, [5.0, 5, 40, 30], 1))


def joined(*targets: Targets) -> Targets:
    return Targets(*(torch.cat(part) for part in zip(*targets, strict=True)))


def gradients(loss: Loss, found: Predictions, targets: Targets) -> tuple[float, list[Array]]:
    found = Predictions(*(part.clone().requires_grad_() for part in found))
    total = torch.stack(loss(found, targets)).sum()
    total.backward()
    return total.item(), [part.grad.numpy() for part in found]


# ---- gradients ---------------------------------------------------------------------------------------------------------


def check_gradient(loss: Loss, predicted: Predictions, targets: Targets) -> int:
    """By finite differences, with the targets of the anchors held, as the loss does; returns how many have an object."""
    held, assigned = replace(loss), loss.assigned(predicted, targets)
    if isinstance(loss, AlignedLoss):  # CIoU holds a factor that is 0 where shapes are the same: the others by hand, below
        truth = targets.xyxy[assigned.target]
        aspects = (truth[:, 2:] - truth[:, :2]).log() - anchors_of(CONFIG).sizes[assigned.anchor].log()
        assigned = type(assigned)(*(part[(aspects[:, 0] - aspects[:, 1]).abs() < 1e-6] for part in assigned))
    held.assigned = lambda *_: assigned  # type: ignore[method-assign]
    parts = tuple(part.requires_grad_() for part in predicted)
    assert torch.autograd.gradcheck(lambda *parts: held(Predictions(*parts), targets), parts)
    return len(assigned.anchor)


def test_the_losses_have_the_right_gradient() -> None:
    assert check_gradient(PublishedLoss(CONFIG), predicted(), SOME) == 3
    loss = AlignedLoss(CONFIG, torch.tensor([0.5, 2.0, 1.0], dtype=torch.float64))
    found = predicted()
    found.deltas[..., 2:] = found.deltas[..., 3:]
    fitting = objects((0, [15.0, 35, 48, 57], 0), (0, [42.0, 5, 82, 65], 2), (1, [61.0, 25, 100, 51], 1))
    assert check_gradient(loss, found, fitting) >= 5


def test_ciou_and_its_gradient_with_its_factor_held() -> None:
    rng = np.random.default_rng(3)
    low = rng.uniform(0, 30, (2, 50, 2))
    predicted_boxes, truth = np.concatenate([low, low + rng.uniform(15, 60, (2, 50, 2))], axis=-1)
    tensor, truth = torch.from_numpy(predicted_boxes).requires_grad_(), torch.from_numpy(truth)
    ciou_loss(tensor, truth).sum().backward()

    def parts(boxes: torch.Tensor) -> tuple[torch.Tensor, ...]:
        (width, height), (true_width, true_height) = ((some[:, 2:] - some[:, :2]).unbind(1) for some in (boxes, truth))
        angles = (2 / math.pi * (torch.atan2(true_width, true_height) - torch.atan2(width, height))) ** 2
        apart = (boxes[:, :2] + boxes[:, 2:] - truth[:, :2] - truth[:, 2:]).square().sum(1) / 4
        hull = torch.maximum(boxes[:, 2:], truth[:, 2:]) - torch.minimum(boxes[:, :2], truth[:, :2])
        return iou_xyxy(boxes, truth), apart / hull.square().sum(1), angles

    overlap, _, angles = parts(tensor.detach())
    factor = angles / (1 - overlap + angles)

    def value(boxes: torch.Tensor) -> torch.Tensor:
        overlap, apart, angles = parts(boxes)
        return 1 - overlap + apart + factor * angles

    torch.testing.assert_close(ciou_loss(tensor, truth), value(tensor))
    checked = tensor.detach().clone().requires_grad_()
    assert torch.autograd.gradcheck(value, checked)
    value(checked).sum().backward()
    torch.testing.assert_close(tensor.grad, checked.grad)


# ---- values by hand ----------------------------------------------------------------------------------------------------


def anchor_rows() -> list[tuple[float, float, float, float]]:
    """Centre x, y, width and height of each anchor, by the words of the head's documentation."""
    return [
        ((i + 1) * 120 / 4, (j + 1) * 90 / 3, width, height)
        for i in range(3)
        for j in range(2)
        for width, height in CONFIG.anchors
    ]


def decoded(deltas: Array) -> Array:
    """(pictures, anchors, 4) boxes."""
    boxes = np.zeros_like(deltas)
    for k, (x, y, w, h) in enumerate(anchor_rows()):
        dx, dy, dh, dw = np.moveaxis(deltas[:, k], -1, 0)
        middle = np.stack([x + w * dx, y + h * dy], -1)
        half = np.stack([w * np.exp(dw), h * np.exp(dh)], -1) / 2
        boxes[:, k] = np.concatenate([middle - half, middle + half], -1)
    return boxes


def iou(a: Array, b: Array) -> float:
    return float(reference.iou(np.stack([a, b]))[0, 1])


@pytest.mark.parametrize("seed", range(4))
def test_the_published_loss_by_hand(seed: int) -> None:
    found = predicted(seed=seed)
    deltas, conf, chance = found.deltas.numpy(), found.confidence.sigmoid().numpy(), found.classes.softmax(-1).numpy()
    boxes = decoded(deltas)
    chosen: dict[tuple[int, int], int] = {}
    for row, picture in enumerate(SOME.picture.tolist()):
        overlaps = [-1.0 if (picture, k) in chosen else iou(boxes[picture, k], SOME.xyxy[row].numpy()) for k in range(ANCHORS)]
        chosen[picture, int(np.argmax(overlaps))] = row
    assert len(chosen) == 3
    box = classes = positive = 0.0
    for (picture, k), row in chosen.items():
        x1, y1, x2, y2 = SOME.xyxy[row].tolist()
        x, y, w, h = anchor_rows()[k]
        target = ((x1 + x2) / 2 - x) / w, ((y1 + y2) / 2 - y) / h, math.log((y2 - y1 + 1) / h), math.log((x2 - x1 + 1) / w)
        box += 5 / 3 * sum((deltas[picture, k] - target) ** 2)
        classes -= math.log(chance[picture, k, int(SOME.classes[row].argmax())] + 1e-7) / 3
        positive += 75 / 3 * (conf[picture, k] - iou(boxes[picture, k], SOME.xyxy[row].numpy())) ** 2
    without = [conf[picture, k] ** 2 for picture in range(2) for k in range(ANCHORS) if (picture, k) not in chosen]
    parts = [float(part) for part in PublishedLoss(CONFIG)(found, SOME)]
    np.testing.assert_allclose(parts, [box, classes, positive + 100 * np.mean(without)])


def test_an_object_that_no_box_overlaps_gets_the_nearest_anchor() -> None:
    found = predicted(1, size=0)
    found.deltas[..., :2] = -100  # all boxes are far away
    assigned = PublishedLoss(CONFIG).assigned(found, objects((0, [112.0, 82, 119, 89], 1)))
    assert anchor_rows()[int(assigned.anchor)][:2] == (90, 60)  # the last cell
    assert float(assigned.score) == 0


@pytest.mark.parametrize("seed", range(4))
def test_the_aligned_loss_by_hand(seed: int) -> None:
    """Alpha 0.5, beta 5, three candidates; weights of the parts 5, 1 and 1."""
    found = predicted(seed=seed)
    deltas, conf, chance = found.deltas.numpy(), found.confidence.sigmoid().numpy(), found.classes.softmax(-1).numpy()
    boxes = decoded(deltas)
    overlaps = np.zeros((3, ANCHORS))
    alignment = np.zeros((3, ANCHORS))
    for row, picture in enumerate(SOME.picture.tolist()):
        truth = SOME.xyxy[row].numpy()
        label = int(SOME.classes[row].argmax())
        for k, (x, y, _, _) in enumerate(anchor_rows()):
            overlaps[row, k] = iou(boxes[picture, k], truth)
            near_x = abs(x - (truth[0] + truth[2]) / 2) < max((truth[2] - truth[0]) / 2, 120 / 4)
            near_y = abs(y - (truth[1] + truth[3]) / 2) < max((truth[3] - truth[1]) / 2, 90 / 3)
            if near_x and near_y:
                alignment[row, k] = (conf[picture, k] * chance[picture, k, label]) ** 0.5 * overlaps[row, k] ** 5
    candidates = {(row, k) for row in range(3) for k in np.argsort(-alignment[row])[:3].tolist() if alignment[row, k] > 0}
    rivals = {(0, k) for r, k in candidates if r == 0} & {(0, k) for r, k in candidates if r == 1}
    for _, k in rivals:  # objects 0 and 1 share a picture
        candidates.discard((int(overlaps[0, k] > overlaps[1, k]), k))
    targets = {}
    for row in range(3):
        mine = [k for r, k in candidates if r == row]
        best_iou, best = max(overlaps[row, k] for k in mine), max(alignment[row, k] for k in mine)
        targets.update({(int(SOME.picture[row]), k): (row, min(1, alignment[row, k] / best * best_iou)) for k in mine})
    total = max(1.0, sum(score for _, score in targets.values()))
    box = classes = conf_loss = 0.0
    for picture in range(2):
        for k in range(ANCHORS):
            row, score = targets.get((picture, k), (0, 0.0))
            c = conf[picture, k]
            conf_loss -= score * math.log(c) + (1 - score) * math.log(1 - c)
            if score:
                classes -= score * math.log(chance[picture, k, int(SOME.classes[row].argmax())])
                pair = torch.from_numpy(boxes[picture, k])[None], SOME.xyxy[row][None]
                box += score * float(ciou_loss(*pair))  # has a test of its own
    parts = [float(part) for part in AlignedLoss(CONFIG, candidates=3)(found, SOME)]
    np.testing.assert_allclose(parts, [5 * box / total, classes / total, conf_loss / total], rtol=1e-6)


# ---- what must hold for any predictions ------------------------------------------------------------------------------------


@by_name
def test_pictures_without_objects(loss: Loss) -> None:
    found, nothing = predicted(), objects()
    total, (deltas, classes, confidence) = gradients(loss, found, nothing)
    assert math.isfinite(total)
    assert total > 0
    assert not deltas.any()
    assert not classes.any()
    assert (confidence > 0).all()  # all of them are pushed down
    box, class_loss, _ = loss(found, nothing)
    assert (float(box), float(class_loss)) == (0, 0)


@by_name
def test_another_picture_of_the_batch_does_not_matter_for_assignment(loss: Loss) -> None:
    both = predicted()
    _, (deltas, _, _) = gradients(loss, both, SOME)
    _, (alone, _, _) = gradients(loss, Predictions(*(part[:1] for part in both)), Targets(*(part[:2] for part in SOME)))
    np.testing.assert_array_equal(deltas[0].any(-1), alone[0].any(-1))


@by_name
def test_what_is_ignored_changes_nothing_but_its_own_place(loss: Loss) -> None:
    found = predicted(size=0.1)
    far_away = objects((0, [500.0, 500, 520, 520], 2), quality=0)
    expected = gradients(loss, found, SOME)
    total, parts = gradients(loss, found, joined(SOME, far_away))
    assert total == expected[0]
    for part, other in zip(parts, expected[1], strict=True):
        np.testing.assert_array_equal(part, other)


def test_what_overlaps_something_ignored_is_no_background() -> None:
    found = predicted(1, size=0)
    (x, y, w, h), ignored = anchor_rows()[3], 3
    there = objects((0, [x - w / 2, y - h / 2, x + w / 2, y + h / 2], 0), quality=0)
    _, (deltas, classes, confidence) = gradients(AlignedLoss(CONFIG), found, there)
    assert confidence[0, ignored] == 0
    assert (np.delete(confidence[0], ignored) > 0).all()
    assert not deltas.any()
    assert not classes.any()


def test_boxes_that_lie_mostly_in_an_ignored_region_are_no_background() -> None:
    """However small they are; an ignored object covers only boxes of about its own size."""
    found = predicted(1, size=0)
    rows = np.array(anchor_rows())
    low, high = rows[:, :2] - rows[:, 2:] / 2, rows[:, :2] + rows[:, 2:] / 2
    region = [0.0, 0.0, 60.0, 60.0]
    share = (np.minimum(high, 60) - np.maximum(low, 0)).clip(0).prod(1) / rows[:, 2:].prod(1)
    _, (_, _, confidence) = gradients(AlignedLoss(CONFIG), found, objects((0, region, 0), quality=-1))
    np.testing.assert_array_equal(confidence[0] == 0, share > 0.5)
    assert 0 < (share > 0.5).sum() < len(share)


@pytest.mark.parametrize("seed", range(10))
def test_who_answers_for_whom(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pictures, count = 3, 14
    low = rng.uniform(0, 70, (count, 2))
    xyxy = np.concatenate([low, low + rng.uniform(1, 60, (count, 2))], -1)
    xyxy[1] = xyxy[0]  # twice the same
    picture = rng.integers(pictures, size=count)
    picture[1] = picture[0]
    targets = objects(
        *[(int(p), box, int(c)) for p, box, c in zip(picture, xyxy.tolist(), rng.integers(3, size=count), strict=True)]
    )
    targets.quality[5] = 0
    loss = AlignedLoss(CONFIG, candidates=4)
    found = predicted(pictures, seed)
    _, boxes = loss.anchors_and_boxes(found.deltas)
    assigned = loss.assigned(found, targets)
    pairs = list(zip(assigned.picture.tolist(), assigned.anchor.tolist(), strict=True))
    assert len(pairs) == len(set(pairs)) > count / 2
    assert np.bincount(assigned.target.numpy()).max() <= 4
    assert 5 not in assigned.target
    assert (targets.picture[assigned.target] == assigned.picture).all()
    assert ((assigned.score > 0) & (assigned.score <= 1)).all()
    for row in set(assigned.target.tolist()):
        mine = assigned.target == row
        overlap = iou_xyxy(boxes[assigned.picture[mine], assigned.anchor[mine]], targets.xyxy[row])
        torch.testing.assert_close(assigned.score[mine].max(), overlap.max())
    published = PublishedLoss(CONFIG).assigned(found, targets)
    pairs = list(zip(published.picture.tolist(), published.anchor.tolist(), strict=True))
    assert len(pairs) == len(set(pairs)) == count - 1


@by_name
def test_soft_classes_pull_towards_their_shares(loss: Loss) -> None:
    found = predicted(1, size=0)
    soft = objects((0, [10.0, 20, 55, 70], 0))
    soft.classes[:] = torch.tensor([0.7, 0.3, 0.0])
    _, (_, classes, _) = gradients(loss, found, soft)
    pulled = -classes[classes.any(-1)]
    assert len(pulled) >= 1
    direction = pulled / pulled[:, :1]
    expected = (np.array([0.7, 0.3, 0]) - 1 / 3) / (0.7 - 1 / 3)
    np.testing.assert_allclose(direction, np.tile(expected, (len(pulled), 1)), atol=1e-5)


def test_less_sure_objects_weigh_less() -> None:
    found = predicted(1, size=0)
    weak, sure = (objects((0, [10.0, 20, 55, 70], 0), quality=quality) for quality in (0.3, 1.0))
    scores = [AlignedLoss(CONFIG).assigned(found, targets).score for targets in (weak, sure)]
    torch.testing.assert_close(scores[0], scores[1] * 0.3)


def test_class_weights() -> None:
    found = predicted()
    weights = (torch.tensor(row, dtype=torch.float64) for row in ([1, 1, 1], [1, 3, 1]))
    even, uneven = (AlignedLoss(CONFIG, row)(found, SOME) for row in weights)
    assert float(even.box) == float(uneven.box)
    assert float(uneven.classes) > float(even.classes)


def test_more_objects_than_anchors() -> None:
    found = predicted(1)
    many = objects(*[(0, [10.0, 20, 55, 70 + i], 0) for i in range(ANCHORS + 3)])
    for loss in LOSSES:
        total, parts = gradients(loss, found, many)
        assert math.isfinite(total)
        assert all(np.isfinite(part).all() for part in parts)
