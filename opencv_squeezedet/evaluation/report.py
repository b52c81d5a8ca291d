"""An evaluation as one self-contained HTML file."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from opencv_squeezedet.datasets import Dataset
from opencv_squeezedet.detections import Detections
from opencv_squeezedet.draw import thumbnail
from opencv_squeezedet.evaluation import plots
from opencv_squeezedet.evaluation.confusion import confusion_matrix
from opencv_squeezedet.evaluation.diagnosis import Diagnosis
from opencv_squeezedet.evaluation.evaluate import Evaluation
from opencv_squeezedet.evaluation.gallery import HIT, MISSED, TRUTH, WRONG, RankedPicture, draw_matches, rank
from opencv_squeezedet.evaluation.run import Run
from opencv_squeezedet.evaluation.tables import means, percent, share
from opencv_squeezedet.pictures import encode_picture, read_picture
from opencv_squeezedet.report_page import page, photo, plot, section, table

_PICTURES = 12  # of the best, and of the worst
_SIDE = 400  # pixels, of a picture
_MOST_PROBLEMS = 200


def to_html(
    evaluation: Evaluation,
    dataset: Dataset,
    detections: Sequence[Detections],
    *,
    title: str,
    subtitle: str = "",
    run: Run | None = None,
    diagnosis: Diagnosis | None = None,
) -> str:
    """Return the report: metrics, curves, classes, errors, speed if a detector was run, best and worst pictures.

    ``dataset`` and ``detections`` are those that `evaluate` compared; ``subtitle`` is a line below the ``title``. ImportError
    if matplotlib is not installed.
    """
    has_objects = evaluation.pooled.objects > 0
    sections = [
        _cards(evaluation, run),
        section("Precision and recall", plot(plots.pooled_curves(evaluation), "precision and recall")) if has_objects else "",
        section("Classes", plot(plots.class_bars(evaluation), "average precision of each class")) if has_objects else "",
        section("Numbers", _class_table(evaluation)),
        section("Errors", _errors(diagnosis, evaluation)) if has_objects and diagnosis is not None else "",
        section("Confusion matrix", _confusion(evaluation, dataset, detections)) if has_objects else "",
        section("Curves of the classes", plot(plots.class_curves(evaluation), "curves")) if has_objects else "",
        "" if run is None else section("Speed", _speed(run)),
        *_galleries(evaluation, dataset, detections),
        _problems((*map(str, dataset.problems), *(run.problems if run else ()))),
    ]
    return page(title, subtitle, sections)


def _cards(evaluation: Evaluation, run: Run | None) -> str:
    coco = evaluation.coco
    entries = [("mAP, VOC07", percent(evaluation.map_voc07)), ("mAP, VOC10", percent(evaluation.map_voc10))]
    entries += [(f"COCO {name}", percent(coco[name])) for name in ("AP", "AP50", "AP75") if name in coco]
    if run is not None:
        entries.append(("pictures/s", f"{run.pictures_per_second:.1f}"))
    cards = "".join(f'<div class="card"><b>{value}</b><span>{escape(name)}</span></div>' for name, value in entries)
    return f'<div class="cards">{cards}</div>'


def _class_table(evaluation: Evaluation) -> str:
    rows = []
    for result in evaluation.classes:
        numbers = (result.voc07, result.voc10, result.coco, result.coco50, result.coco75, result.recall)
        best = result.best
        at = (f"{best.threshold:.2f}", percent(best.precision), percent(best.recall), percent(best.f1))
        rows.append([result.label, str(result.objects), str(result.difficult), *map(percent, numbers), *at])
    header = ["class", "objects", "difficult", "VOC07", "VOC10", "AP", "AP50", "AP75", "recall"]
    header += ["best score", "precision", "recall", "F1"]
    mean = ["mean", "", "", *map(percent, means(evaluation)), "", "", "", "", ""]
    sizes = [f"{size} {percent(evaluation.coco[f'AP_{size}'])}" for size in ("small", "medium", "large") if evaluation.coco]
    by_size = f" COCO AP of {', '.join(sizes)} objects." if sizes else ""
    return (
        f"{table(header, rows, mean)}"
        f"<p>Percent. VOC: IoU {evaluation.iou_threshold:g}, 11 points (07) and area (10); recall is that of all "
        f"detections; the last four columns are at the score threshold of the class's best F1.{by_size}</p>"
    )


def _errors(diagnosis: Diagnosis, evaluation: Evaluation) -> str:
    header = ["cost in mAP", *(error.name for error in diagnosis.errors)]
    rows = [
        [result.label, *(percent(error.costs[i]) for error in diagnosis.errors)] for i, result in enumerate(evaluation.classes)
    ]
    mean = ["mean", *(percent(error.cost) for error in diagnosis.errors)]
    sizes = []
    for size in diagnosis.sizes:
        recalls = (percent(share(found, size.objects)) for found in (size.found, size.found_at_best))
        sizes.append([size.name, str(size.objects), *recalls])
    head = ["objects by size", "objects", "found, %", f"found at score {diagnosis.threshold:.3f}, %"]
    return (
        f"{plot(plots.error_bars(diagnosis), 'the cost of each error type, and the reliability of scores')}"
        "<p>Left: points of VOC10 mAP gained if all errors of one type were corrected: a box of the right class with too low "
        "an IoU (localization), a well-placed box of the wrong class (class), both, a second box for an object (duplicate), a "
        "box without an object (background), an object without any of these (missed). Right: precision of the detections in "
        f"each tenth of the scores; expected calibration error {percent(diagnosis.calibration_error)} points.</p>"
        f"{table(header, rows, mean)}<br>{table(head, sizes)}"
    )


def _confusion(evaluation: Evaluation, dataset: Dataset, detections: Sequence[Detections]) -> str:
    threshold, iou = evaluation.pooled.best.threshold, evaluation.iou_threshold
    matrix = confusion_matrix(dataset, detections, threshold, iou)
    return (
        f"{plot(plots.confusion(matrix, dataset.labels), 'annotated and detected classes', narrow=True)}"
        f"<p>Objects by their class and by that of the detection that overlaps them most, at score {threshold:.3f} and IoU "
        f"{iou:g}. Colours are shares of a row.</p>"
    )


def _speed(run: Run) -> str:
    speed = run.to_dict()
    rows = [[stage, f"{times['p50']:.2f}", f"{times['p95']:.2f}"] for stage, times in speed["milliseconds"].items()]
    return (
        f"{table(['stage', 'median ms per picture', '95th percentile'], rows)}"
        f"<p>{run.pictures_per_second:.1f} pictures/s overall, including reading files; {run.workers} "
        f"pictures at a time on {speed['cores']} cores, OpenCV {escape(speed['opencv'])}.</p>"
    )


def _galleries(evaluation: Evaluation, dataset: Dataset, detections: Sequence[Detections]) -> list[str]:
    threshold = evaluation.pooled.best.threshold
    chosen = rank(dataset, detections, threshold, evaluation.iou_threshold, _PICTURES)
    legend = "".join(
        f'<span class="key" style="background: rgb{colour[::-1]}"></span>{name}'
        for name, colour in (("hit", HIT), ("wrong", WRONG), ("missed", MISSED), ("truth", TRUTH))
    )
    parts = []
    for title, pictures in zip(("Best pictures", "Worst pictures"), chosen, strict=True):
        figures = [_figure(picture, evaluation, dataset, detections) for picture in pictures]
        if figures:
            text = f"<p>{legend} &ensp; at score {threshold:.3f}, IoU {evaluation.iou_threshold:g}</p>"
            parts.append(section(title, f'{text}<div class="gallery">{"".join(figures)}</div>'))
    return parts


def _figure(picture: RankedPicture, evaluation: Evaluation, dataset: Dataset, detections: Sequence[Detections]) -> str:
    truth, detected = dataset.pictures[picture.picture_index], detections[picture.picture_index]
    caption = f"{escape(truth.path.name)}<br>{picture.hits} found, {picture.wrong} wrong, {picture.missed} missed"
    try:
        image, scale = thumbnail(read_picture(truth.path), _SIDE)
        drawn = draw_matches(image, scale, truth, detected, evaluation.pooled.best.threshold, evaluation.iou_threshold)
        content = encode_picture(drawn, ".jpg")
    except (OSError, ValueError) as error:
        return f"<figure><figcaption>{caption} ({escape(str(error))})</figcaption></figure>"
    return f"<figure>{photo(content)}<figcaption>{caption}</figcaption></figure>"


def _problems(problems: Sequence[str]) -> str:
    if not problems:
        return ""
    items = "".join(f"<li>{escape(problem)}</li>" for problem in problems[:_MOST_PROBLEMS])
    more = f"<p>and {len(problems) - _MOST_PROBLEMS} more</p>" if len(problems) > _MOST_PROBLEMS else ""
    content = f"<details><summary>{len(problems)}</summary><ul>{items}</ul>{more}</details>"
    return section("Problems in the data", content)
