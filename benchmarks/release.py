"""From a trained run to released weights: half precision, calibrated on `calib`, with a threshold from `survey-val`

Used by benchmarks/networks.py and zoo.py. Half precision, of all tensors or of the large ones, is kept only if no probability of 2,000 images
moves by more than 1e-3.
"""
from dataclasses import replace
from pathlib import Path

import numpy as np

from lensnb.calibrate import apply_calibration, fit_calibration
from lensnb.cutouts import open_cutouts
from lensnb.metrics import roc_curve
from lensnb.predict import predict
from lensnb.store import write_store
from lensnb.weights import load_weights, save_weights

ROOT = Path(__file__).parent.parent


def threshold_at(scores, fpr):
    "The lowest logit at which no more than this share of the non-lenses is called a lens"
    curve = roc_curve(scores)
    return float(curve.logit[curve.fpr <= fpr].iloc[-1])


PRECISION = {0: 'half precision', 20_000: 'half precision of tensors with 20,000 numbers and more', None: 'full precision'}


def lighten(out, model, card, few):
    "Write weights as light as can be: no probability of the images in `few` may move by more than 1e-3"
    full = apply_calibration(card.calibration, predict((model, card), open_cutouts(few), engine='torch')[0].logit)
    for least in PRECISION:
        save_weights(out, model, card, half=least is not None, least=least or 0)
        moved = np.abs(full-predict(out, open_cutouts(few), engine='torch')[0].p_lens).max()
        if moved <= 1e-3: return moved, least


def release(run, name, calib, judged, work, fpr=1e-3, figures=None, where='survey-val'):
    "Write weights/NAME: `calib` a store, `judged` the scores of the run on survey-val (or `where`), `work` a folder for a few test images"
    model, card = load_weights(run)
    fitted = fit_calibration(predict(run, open_cutouts(calib.path))[0])
    at = float(apply_calibration(fitted, threshold_at(judged, fpr)))
    card = replace(card, calibration=fitted, name=name, threshold=at, threshold_from=f'a false-positive rate of {fpr:g} on {where}', metrics={**card.metrics, **({where: figures} if figures else {})})
    out = ROOT/'weights'/name
    few = Path(work)/f'few-{calib.path.name}'
    if not few.is_dir(): write_store(few, calib.batch(slice(0, 2000)), calib.catalog[['id', 'label', *(c['name'] for c in card.meta_columns)]].iloc[:2000], calib.survey)
    moved, least = lighten(out, model, card, few)
    for f in ('config.yaml', 'history.csv'): (out/f).write_text((Path(run)/f).read_text().replace(f'{ROOT}/', ''))
    print(f"{name}: threshold p = {at:.3f}; {PRECISION[least]}, which moves a probability by {moved:.1e} at most -> {out}", flush=True)
    return load_weights(out)[1]
