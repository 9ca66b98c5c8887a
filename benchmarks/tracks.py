"""The colour tracks of `22_galaxies`: Coleman, Wu & Weedman (1980) spectra through survey filters, dust after Calzetti et al. (2000).

Spectra and filters are those that GalSim carries, which is no dependency: pip install --target FOLDER galsim --no-deps, then
    python benchmarks/tracks.py FOLDER/galsim/share
prints the table TRACKS, magnitudes relative to the absolute rest-frame r, evolution included."""
import sys
from pathlib import Path

import numpy as np

Z = (0,0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8,1,1.5,2,3)
DIMMING = {'old':0.8, 'young':1.0} # magnitudes per unit redshift by which galaxies were brighter (by eye, after passive evolution)


def table(path): return np.loadtxt(path).T


def filters(share):
    out = {b: table(share/f'bandpasses/LSST_{b}.dat')*[[10],[1]] for b in 'ugriz'} # nm to Angstrom
    vis = np.linspace(5400, 9100, 500)
    out['VIS'] = vis, np.interp(vis, (5400,5600,8700,9100), (0,1,0.8,0))            # close to Euclid's broad filter
    out['F814W'] = table(share/'bandpasses/ACS_wfc_F814W.dat')*[[10],[1]]
    return out


def ab(wave, flux, band):
    "AB magnitude of a flux per wavelength, up to a constant that all bands share"
    w,t = band
    return -2.5*np.log10(np.trapezoid(np.interp(w, wave, flux)*t*w, w)/np.trapezoid(t/w, w))


def extinction(wave):
    "Calzetti's law: magnitudes of dimming for A_V = 1; wave in Angstrom"
    w = np.clip(wave, 900, 22000)/1e4
    blue = 2.659*(-2.156+1.509/w-0.198/w**2+0.011/w**3)+4.05
    return np.where(w<0.63, blue, 2.659*(-1.857+1.040/w)+4.05)/4.05


def main(share):
    band = filters(share)
    spectra = {n: table(share/f'SEDs/CWW_{n}_ext.sed') for n in ('E','Sbc','Scd','Im')}
    wave = np.unique(np.concatenate([s[0] for s in spectra.values()]))
    spectra = {n: np.interp(wave, *s) for n,s in spectra.items()}
    spectra = {n: f*10**(0.4*ab(wave, f, band['r'])) for n,f in spectra.items()}     # M_r = 0

    def row(flux, z, dimming=0.): return np.array([ab(wave*(1+z), flux/(1+z), b)-dimming*z for b in band.values()])
    # younger in the past; and 1 mag per 1000 Angstrom less light below 3700, as survey colours ask for (g-r = 1.85 at z = 0.5)
    ultraviolet = 10**(-0.4*np.clip((3700-wave)/1000, 0, 1))
    def old(z): share = min(0.35*z, 0.6); return ((1-share)*spectra['E']+share*spectra['Sbc'])*ultraviolet
    tracks = {'old': [row(old(z), z, DIMMING['old']) for z in Z], 'young': [row(spectra['Im'], z, DIMMING['young']) for z in Z],
              'dust': [row(spectra['Scd']*10**(-0.4*extinction(wave)), z)-row(spectra['Scd'], z) for z in Z]}
    for name,rows in tracks.items():
        print(f"'{name}': (")
        for b,values in zip(band, np.array(rows).T, strict=True): print('    ('+','.join(f'{v:.2f}' for v in values)+f'), # {b}')


if __name__ == '__main__': main(Path(sys.argv[1]))
