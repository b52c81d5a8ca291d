"""An evaluation as one self-contained HTML file."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Sequence
from html import escape

from opencv_squeezedet.datasets import Dataset
from opencv_squeezedet.detections import Detections
from opencv_squeezedet.evaluation import plots
from opencv_squeezedet.evaluation.diagnosis import Diagnosis
from opencv_squeezedet.evaluation.evaluate import Evaluation
from opencv_squeezedet.evaluation.gallery import HIT, MISSED, TRUTH, WRONG, RankedPicture, picture_jpeg, rank
from opencv_squeezedet.evaluation.run import Run
from opencv_squeezedet.evaluation.tables import means, percent, share

_PICTURES = 12  # best ones, and worst ones
_MOST_PROBLEMS = 200

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1f2933; background: #f4f6f8; margin: 0; }
main { max-width: 1060px; margin: 0 auto; padding: 24px 16px 48px; }
h1 { font-size: 26px; margin: 0; } h2 { font-size: 18px; margin: 0 0 10px; }
p { margin: 6px 0; color: #52606d; }
section { background: #fff; border: 1px solid #e1e7ec; border-radius: 8px; padding: 18px 22px; margin-top: 18px; }
section img.plot { width: 100%; height: auto; }
.cards { display: flex; flex-wrap: wrap; gap: 12px; margin-top: 18px; }
.card { flex: 1 1 120px; background: #fff; border: 1px solid #e1e7ec; border-radius: 8px; padding: 12px 16px; }
.card b { display: block; font-size: 26px; color: #1769aa; } .card span { color: #52606d; font-size: 13px; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: 14px; }
th, td { text-align: right; padding: 4px 8px; border-bottom: 1px solid #edf1f4; }
th { color: #52606d; font-weight: 600; } th:first-child, td:first-child { text-align: left; }
tr:last-child td { border-bottom: 0; } tr.mean td { font-weight: 600; border-top: 2px solid #c3cad2; }
.gallery { display: flex; flex-wrap: wrap; gap: 14px; }
figure { margin: 0; width: min-content; } figure img { height: 200px; border-radius: 4px; display: block; }
figcaption { font-size: 12.5px; color: #52606d; overflow-wrap: anywhere; }
.key { border: 1px solid #c3cad2; display: inline-block;
  width: 12px; height: 12px; border-radius: 2px; margin: 0 5px 0 14px; vertical-align: -1px; }
.key:first-child { margin-left: 0; }
details { color: #52606d; } details li { overflow-wrap: anywhere; }
"""


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

    Parameters
    ----------
    evaluation : Evaluation
        The metrics of the detections on the data set.
    dataset, detections
        As they were passed to `evaluate`.
    title, subtitle : str
        The headline, and a line below it.
    run : Run, optional
        Adds the speed.
    diagnosis : Diagnosis, optional
        Adds the error analysis.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    has_objects = evaluation.pooled.objects > 0
    sections = [
        _cards(evaluation, run),
        section("Precision and recall", plot(plots.pooled_curves(evaluation), "precision and recall")) if has_objects else "",
        section("Classes", plot(plots.class_bars(evaluation), "average precision of each class")) if has_objects else "",
        section("Numbers", _class_table(evaluation)),
        section("Errors", _errors(diagnosis, evaluation)) if has_objects and diagnosis is not None else "",
        section("Curves of the classes", plot(plots.class_curves(evaluation), "curves")) if has_objects else "",
        "" if run is None else section("Speed", _speed(run)),
        *_galleries(evaluation, dataset, detections),
        _problems((*dataset.problems, *(run.problems if run else ()))),
    ]
    return page(title, subtitle, sections)


def page(title: str, subtitle: str, sections: Iterable[str]) -> str:
    """Return an HTML file of a headline, a line below it, and sections, of which empty ones are left out."""
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>{_STYLE}</style></head>\n<body><main>\n<h1>{escape(title)}</h1>\n<p>{escape(subtitle)}</p>\n"
        + "\n".join(section for section in sections if section)
        + "\n</main></body></html>\n"
    )


def section(title: str, content: str) -> str:
    """Return a part of a page with a headline of its own."""
    return f"<section><h2>{escape(title)}</h2>\n{content}</section>"


def plot(svg: str, what: str) -> str:
    """Return a figure of `plots` for a page, with what is said of it where it cannot be seen."""
    return f'<img class="plot" alt="{escape(what)}" src="data:image/svg+xml;base64,{b64encode(svg.encode()).decode()}">'


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
    table = f"<table>{_row(header, 'th')}{''.join(map(_row, rows))}{_row(mean, mark='mean')}</table>"
    sizes = [f"{size} {percent(evaluation.coco[f'AP_{size}'])}" for size in ("small", "medium", "large") if evaluation.coco]
    by_size = f" COCO AP of {', '.join(sizes)} objects." if sizes else ""
    return (
        f"{table}<p>Percent. VOC: IoU {evaluation.iou_threshold:g}, 11 points (07) and area (10); recall is that of all "
        f"detections; the last four columns are at the score threshold of the class's best F1.{by_size}</p>"
    )


def _errors(diagnosis: Diagnosis, evaluation: Evaluation) -> str:
    header = ["cost in mAP", *(error.name for error in diagnosis.errors)]
    rows = [
        [result.label, *(percent(error.costs[i]) for error in diagnosis.errors)] for i, result in enumerate(evaluation.classes)
    ]
    mean = ["mean", *(percent(error.cost) for error in diagnosis.errors)]
    table = f"<table>{_row(header, 'th')}{''.join(map(_row, rows))}{_row(mean, mark='mean')}</table>"
    sizes = [
        [
            size.name,
            str(size.objects),
            percent(share(size.found, size.objects)),
            percent(share(size.found_at_best, size.objects)),
        ]
        for size in diagnosis.sizes
    ]
    head = ["objects by size", "objects", "found, %", f"found at score {diagnosis.threshold:.3f}, %"]
    by_size = f"<table>{_row(head, 'th')}{''.join(map(_row, sizes))}</table>"
    return (
        f"{plot(plots.error_bars(diagnosis), 'the cost of each error type, and the reliability of scores')}"
        "<p>Left: points of VOC10 mAP gained if all errors of one type were corrected: a box of the right class with too low "
        "an IoU (localization), a well-placed box of the wrong class (class), both, a second box for an object (duplicate), a "
        "box without an object (background), an object without any of these (missed). Right: precision of the detections in "
        f"each tenth of the scores; expected calibration error {percent(diagnosis.calibration_error)} points.</p>"
        f"{table}<br>{by_size}"
    )


def _row(cells: Iterable[str], tag: str = "td", mark: str = "") -> str:
    opened = f'<tr class="{mark}">' if mark else "<tr>"
    return opened + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"


def _speed(run: Run) -> str:
    speed = run.to_dict()
    rows = [[stage, f"{times['p50']:.2f}", f"{times['p95']:.2f}"] for stage, times in speed["milliseconds"].items()]
    table = _row(["stage", "median ms per picture", "95th percentile"], "th") + "".join(map(_row, rows))
    return (
        f"<table>{table}</table><p>{run.pictures_per_second:.1f} pictures/s overall, including reading files; {run.workers} "
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
    truth = dataset.pictures[picture.picture_index]
    caption = f"{escape(truth.path.name)}<br>{picture.hits} found, {picture.wrong} wrong, {picture.missed} missed"
    try:
        content = picture_jpeg(
            truth, detections[picture.picture_index], evaluation.pooled.best.threshold, evaluation.iou_threshold
        )
    except (OSError, ValueError) as error:
        return f"<figure><figcaption>{caption} ({escape(str(error))})</figcaption></figure>"
    image = f'<img alt="" src="data:image/jpeg;base64,{b64encode(content).decode()}">'
    return f"<figure>{image}<figcaption>{caption}</figcaption></figure>"


def _problems(problems: Sequence[str]) -> str:
    if not problems:
        return ""
    items = "".join(f"<li>{escape(problem)}</li>" for problem in problems[:_MOST_PROBLEMS])
    more = f"<p>and {len(problems) - _MOST_PROBLEMS} more</p>" if len(problems) > _MOST_PROBLEMS else ""
    content = f"<details><summary>{len(problems)}</summary><ul>{items}</ul>{more}</details>"
    return section("Problems in the data", content)
