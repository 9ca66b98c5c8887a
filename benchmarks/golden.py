"""Images of the scenes in tests/golden/scenes.json, made with lenstronomy

    python3 -m venv other && other/bin/pip install lenstronomy
    other/bin/python benchmarks/golden.py

lenstronomy is no dependency of lensnb: this script runs in an environment of its own, imports nothing of ours, and its
output is committed. tests/test_golden.py holds our images to it. lenstronomy 1.14.2 made the present arrays.
"""
import json
from pathlib import Path

import numpy as np
from lenstronomy.LensModel.lens_model import LensModel
from lenstronomy.LightModel.light_model import LightModel
from scipy.special import gammaln

HERE = Path(__file__).parent.parent/'tests'/'golden'


def centre(p): return dict(center_x=p.get('x0', 0.), center_y=p.get('y0', 0.))


def components(strength, pa):
    "Our position angle runs from +y (north) towards -x (east), theirs from +x towards +y"
    phi = pa+np.pi/2
    return strength*np.cos(2*phi), strength*np.sin(2*phi)


def ellipse(p):
    q = p.get('q', 1.)
    e1, e2 = components((1-q)/(1+q), p.get('pa', 0.))
    return dict(e1=e1, e2=e2)


def lens(name, p):
    "Name and keywords of a deflector in lenstronomy"
    if name == 'shear':
        gamma1, gamma2 = components(p['gamma'], p['pa'])
        return 'SHEAR', dict(gamma1=gamma1, gamma2=gamma2)
    theta = dict(theta_E=p['theta_e_arcsec'], **centre(p))
    if name == 'point_mass': return 'POINT_MASS', theta
    if name == 'epl': return 'EPL', dict(gamma=p['gamma'], **ellipse(p), **theta)
    return {'sie': 'SIE'}[name], ellipse(p) | theta


def light(name, flux, p, arrays):
    "Name and keywords of a light profile in lenstronomy, of the total flux wanted"
    if name == 'stamp_light':
        stamp, scale = arrays[p['stamp']], p['pixel_scale_arcsec']
        return 'INTERPOL', dict(image=stamp, amp=flux/(stamp.sum()*scale**2), phi_G=p['pa'], scale=scale, **centre(p))
    n, r = p['n'], p['r_eff_arcsec']
    ours = 2*n-1/3+4/(405*n)+46/(25515*n**2)+131/(1148175*n**3)-2194697/(30690717750*n**4) # Ciotti & Bertin (1999)
    theirs = 1.9992*n-.3271 # with another b_n the same profile has another radius
    peak = np.exp(2*n*np.log(ours)-gammaln(2*n+1))/(np.pi*r**2)
    return {'sersic': 'SERSIC_ELLIPSE'}[name], dict(amp=flux*peak*np.exp(-theirs), R_sersic=r*(theirs/ours)**n, n_sersic=n, **ellipse(p), **centre(p))


def image(scene, x, y, arrays):
    "Surface brightness of a scene at x and y"
    lenses = [lens(*item) for item in scene['lenses']]
    beta, total = LensModel([name for name, _ in lenses]).ray_shooting(x, y, [kw for _, kw in lenses]), 0
    for items, at in ((scene['source'], beta), (scene['light'], (x, y))):
        for item in items:
            name, kw = light(*item, arrays)
            total = total+LightModel([name]).surface_brightness(*at, [kw])
    return total


def toy_galaxy(size_pix=25):
    "A lumpy spiral, so that a flip or a turn of the stamp cannot hide"
    v, u = np.mgrid[:size_pix, :size_pix]-(size_pix-1)/2
    r, angle = np.hypot(u, v), np.arctan2(v, u)
    return np.exp(-r/3)*(1+.8*np.cos(angle-np.log1p(r)*1.5))+.8*np.exp(-((u-6)**2+(v-4)**2)/3)


if __name__ == '__main__':
    spec = json.loads((HERE/'scenes.json').read_text())
    g = spec['grid']
    n, step = g['size_pix']*g['supersample'], g['pixel_scale_arcsec']/g['supersample']
    axis = (np.arange(n)-(n-1)/2)*step
    x, y = (c.ravel() for c in np.meshgrid(axis, axis))
    arrays = {'stamp': toy_galaxy()}
    for name, scene in spec['scenes'].items(): arrays[name] = image(scene, x, y, arrays).reshape(n, n)
    np.savez_compressed(HERE/'scenes.npz', **{k: v.astype(np.float32) for k, v in arrays.items()})
    print(f"{len(spec['scenes'])} scenes of {n} x {n} points, {(HERE/'scenes.npz').stat().st_size//1000} kB")
