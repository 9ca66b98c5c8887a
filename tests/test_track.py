"What a notebook cannot show of tracking: a server on the loopback, one that goes away, a client that hangs"
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lensnb.config import load_config, save_config
from lensnb.core import Scores, write_json
from lensnb.track import read_run, start_run, tracking_mode

KEY = 'k'*40


class Server(ThreadingHTTPServer):
    "A W&B server of one page: it says what wandb wants to hear, and keeps what it is sent"
    daemon_threads = True

    def __init__(self, refuse=False):
        super().__init__(('127.0.0.1', 0), Handler)
        self.url, self.refuse = f'http://127.0.0.1:{self.server_port}', refuse
        self.runs, self.files, self.artifacts, self.asked = {}, {}, {}, []
        threading.Thread(target=self.serve_forever, kwargs=dict(poll_interval=.05), daemon=True).start()

    def handle_error(self, request, client_address): pass  # wandb closes its connections as it likes

    def stop(self):
        self.shutdown()
        self.server_close()

    def answer(self, op, v):
        "The data of a GraphQL answer"
        name, project = v.get('name'), dict(id='p', name=v.get('project'), entity=dict(id='e', name='toy'))
        if op == 'Viewer': return dict(viewer=dict(id='u', entity='toy', username='toy', email='', flags='{}', teams=dict(edges=[])))
        if op == 'RunResumeStatus':
            run = self.runs.get(name)
            return dict(model=dict(id='p', name=v['project'], entity=project['entity'], bucket=run and dict(
                id=name, name=name, displayName='x', summaryMetrics='{}', config=json.dumps(run['config']), logLineCount=0, eventsLineCount=0, historyLineCount=len(run['history']),
                historyTail=json.dumps([json.dumps(h) for h in run['history'][-1:]]), eventsTail='[]', tags=[], notes='', wandbConfig=None)))
        if op == 'UpsertBucket':
            run = self.runs.setdefault(name, dict(config={}, history=[], summary={}, name=v.get('displayName'), exit=None))
            run['config'] |= json.loads(v.get('config') or '{}')
            return dict(upsertBucket=dict(inserted=True, bucket=dict(id=name, name=name, displayName='x', description='', config='{}', sweepName='', historyLineCount=len(run['history']), project=project)))
        if op == 'CreateRunFiles': return dict(createRunFiles=dict(runID='b', uploadHeaders=[], files=[dict(name=f, uploadUrl=f'{self.url}/file/{f}') for f in v['files']]))
        if op == 'ArtifactType': return dict(project=dict(artifact=None))
        if op == 'CreateArtifact':
            key = f'a{len(self.artifacts)}'
            self.artifacts[key] = dict(name=v['input']['artifactCollectionName'], type=v['input']['artifactTypeName'], done=False)
            return dict(createArtifact=dict(artifact=dict(id=key, state='PENDING', artifactSequence=dict(latestArtifact=None))))
        if op == 'CreateArtifactManifest': return dict(createArtifactManifest=dict(artifactManifest=dict(id='m', file=dict(id='f', uploadUrl=f"{self.url}/{v['artifactID']}/manifest", uploadHeaders=[]))))
        if op == 'CreateArtifactFiles':
            node = lambda f: dict(storagePath=f['name'], uploadUrl=f"{self.url}/{f['artifactID']}/{f['name']}", uploadHeaders=[], uploadMultipartUrls=None, artifact=dict(id=f['artifactID']))
            return dict(createArtifactFiles=dict(files=dict(edges=[dict(node=node(f)) for f in v['input']['artifactFiles']])))
        if op == 'ArtifactByID':
            a = self.artifacts[v['id']]
            return dict(artifact=dict(id=v['id'], artifactSequence=dict(name=a['name'], project=dict(id='p', internalId='p', name='lensnb', entity=dict(name='toy'))), versionIndex=0, artifactType=dict(name=a['type']),
                description=None, metadata='{}', ttlDurationSeconds=-2, ttlIsInherited=True, tags=[], historyStep=0, state='COMMITTED', size=1, digest='d', commitHash='c', fileCount=3, createdAt='2026-01-01T00:00:00', updatedAt=None, aliases=[]))
        if op == 'CommitArtifact':
            self.artifacts[v['artifactID']]['done'] = True
            return dict(commitArtifact=dict(artifact=dict(id=v['artifactID'], digest='d')))
        return {}

    def stream(self, run, d):
        "Lines of history, the summary, the end"
        files = d.get('files', {})
        if h := files.get('wandb-history.jsonl'): run['history'][h['offset']:] = [json.loads(x) for x in h['content']]
        if s := files.get('wandb-summary.json'): run['summary'] = json.loads(s['content'][-1])
        if d.get('complete'): run['exit'] = d.get('exitcode')


class Handler(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def log_message(self, *args): pass
    def body(self): return self.rfile.read(int(self.headers.get('Content-Length') or 0))

    def reply(self, d, code=200):
        b = json.dumps(d).encode()
        self.send_response(code)
        self.send_header('Content-Type', 'application/json')
        self.send_header('Content-Length', str(len(b)))
        self.end_headers()
        self.wfile.write(b)

    def do_GET(self): self.reply({})

    def do_PUT(self):
        self.server.files[self.path] = self.body()
        self.reply({})

    def do_POST(self):
        body, op = json.loads(self.body() or '{}'), self.path
        if self.server.refuse: return self.reply(dict(errors=[dict(message='user is not logged in')]), 401)
        if self.path == '/graphql': op = re.search(r'(?:query|mutation)\s+(\w+)', body['query'])[1]
        self.server.asked.append(op)
        if self.path.endswith('/file_stream'): self.server.stream(self.server.runs[self.path.split('/')[-2]], body)
        self.reply(dict(data=self.server.answer(op, body.get('variables') or {})) if self.path == '/graphql' else {})


@pytest.fixture
def home(tmp_path, monkeypatch):
    "A user with an empty home and no key, in a working folder of their own"
    for k in [k for k in os.environ if k.startswith('WANDB_')]: monkeypatch.delenv(k)
    for k in ('home', 'here'): (tmp_path/k).mkdir()
    monkeypatch.setenv('HOME', str(tmp_path/'home'))
    monkeypatch.setenv('NETRC', str(tmp_path/'home'/'.netrc'))
    for k in ('XDG_CACHE_HOME', 'XDG_CONFIG_HOME', 'XDG_DATA_HOME'): monkeypatch.delenv(k, raising=False)
    monkeypatch.chdir(tmp_path/'here')
    yield tmp_path
    assert not list((tmp_path/'home').rglob('*')) and not list((tmp_path/'here').rglob('*')), 'something was written outside the run folder'


@pytest.fixture
def server(monkeypatch):
    s = Server()
    monkeypatch.setenv('WANDB_BASE_URL', s.url)
    monkeypatch.setenv('WANDB_API_KEY', KEY)
    yield s
    s.stop()


def config(track, *more): return load_config(None, [f'wandb.track={track}', 'name=a toy', 'seed=7', *more])


def finished(out, cfg):
    "What a finished training leaves in its folder"
    save_config(cfg, out/'config.yaml')
    write_json(out/'metrics.json', dict(auc=dict(value=.9, lo=.8, hi=.95), best_epoch=1))
    (out/'card.json').write_text('{}')
    (out/'model.safetensors').write_bytes(bytes(range(256))*4)
    rng, label = np.random.default_rng(0), np.arange(60) % 2
    return Scores.from_frame(pd.DataFrame(dict(id=[f'x{i}' for i in range(60)], label=label, logit=rng.normal(2*label-1, 1.5))))


def steps(run, first, last, seconds=0.):
    for run.step in range(first, last+1):
        run.log(dict(loss=1/run.step, lr=.1))
        time.sleep(seconds)


def images(run): run.pictures(np.random.default_rng(0).normal(size=(2, 3, 40, 40)).astype(np.float32), ['x0', 'x1'], [.1, .93], [0, 1])


def losses(history): return {h['_step']: h['loss'] for h in history if 'loss' in h}


def test_offline_is_read_back(home):
    out, before = home/'run', dict(os.environ)
    cfg = config('offline')
    with start_run(cfg, out) as run:
        steps(run, 1, 30)
        run.log(dict(epoch=0, valid_loss=.5, auc=.8))
        images(run)
        last = run.finish(finished(out, cfg), .5)
    assert last == f'send this run with: wandb sync {out}/wandb' and dict(os.environ) == before
    got = read_run(out)
    assert got['id'] == json.loads((out/'wandb'/'run.json').read_text())['id']
    assert losses(got['history']) == {i: 1/i for i in range(1, 31)} and all(h['lr'] == .1 for h in got['history'])
    end = got['history'][-1]
    assert (end['epoch'], end['auc'], end['validation']['captions']) == (0, .8, ['x0: p=0.10 (not a lens)', 'x1: p=0.93 (lens)'])
    for k, n in (('roc', 3), ('confusion', 4)):
        table = json.loads(next(out.rglob(Path(end[f'{k}_table']['path']).name)).read_text())
        assert len(table['data']) >= n and k in got['config']['_wandb']['visualize']
        assert Image.open(next(out.rglob(Path(end[f'{k}_figure']['path']).name))).size > (300, 300)
    assert got['summary']['final']['auc']['lo'] == .8 and got['config']['seed'] == 7
    assert got['artifacts']['a-toy'] == dict(type='model', files=['card.json', 'config.yaml', 'model.safetensors'])


def test_online(home, server, capsys):
    out, cfg = home/'run', config('online', 'wandb.project=lenses', 'wandb.run_name=my run')
    assert tracking_mode(cfg) == ('online', '')
    with start_run(cfg, out) as run:
        steps(run, 1, 30)
        images(run)
        last = run.finish(finished(out, cfg), .5)
    (name, got), = server.runs.items()
    assert last == f'this run is shown at {server.url}/toy/lenses/runs/{name}' and not run.told
    assert capsys.readouterr().err.count(last) == 2   # at the beginning and at the end
    assert losses(got['history']) == {i: 1/i for i in range(1, 31)} and got['exit'] == 0 and got['name'] == 'my run'
    assert got['config']['seed']['value'] == 7 and got['config']['train']['value']['lr'] == cfg.train.lr
    assert got['summary']['final']['auc']['value'] == .9
    assert sum(f.startswith('/file/media/images/validation') for f in server.files) == 2
    model = next(k for k, a in server.artifacts.items() if a['type'] == 'model')
    assert server.artifacts[model] == dict(name='a-toy', type='model', done=True) and all(a['done'] for a in server.artifacts.values())
    for f in ('config.yaml', 'card.json', 'model.safetensors'): assert server.files[f'/{model}/{f}'] == (out/f).read_bytes()
    assert not [a for a in server.asked if 'otel' in a or 'sentry' in a]


def test_online_goes_on(home, server):
    "A resumed training is the same run, and sends no step twice"
    out, cfg = home/'run', config('online')
    with start_run(cfg, out) as run:
        steps(run, 1, 10)
        steps(run, 11, 14)   # killed here
    with start_run(cfg, out, resume=True) as run:
        steps(run, 11, 20)
        run.finish(finished(out, cfg), .5)
    (name, got), = server.runs.items()
    assert [h['_step'] for h in got['history']] == list(range(1, 21)) and 'roc_table' in got['history'][-1] and not run.told


def test_offline_goes_on_and_is_sent(home, server):
    "Two offline parts arrive as one run"
    out, cfg = home/'run', config('offline')
    with start_run(cfg, out) as run:
        steps(run, 1, 10)
        steps(run, 11, 14)
    with start_run(cfg, out, resume=True) as run:
        steps(run, 11, 20)
        command = run.finish(finished(out, cfg), .5).removeprefix('send this run with: ')
    assert not server.asked and len(list(out.glob('wandb/offline-run-*'))) == 2
    env = dict(os.environ, HOME=str(home), PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}", WANDB_ERROR_REPORTING='false')
    subprocess.run(command, shell=True, check=True, capture_output=True, timeout=60, env=env, cwd=home)
    (name, got), = server.runs.items()
    assert [h['_step'] for h in got['history']] == list(range(1, 21)) and 'roc_table' in got['history'][-1] and got['config']['seed']['value'] == 7
    assert [a['done'] for a in server.artifacts.values() if a['type'] == 'model'] == [True]


def test_server_goes_away(home, server, capsys):
    "The training goes on at its speed, and what could not be sent is on disk"
    out, cfg = home/'run', config('online')
    with start_run(cfg, out, patience_s=3) as run:
        steps(run, 1, 10)
        server.stop()
        start = time.perf_counter()
        steps(run, 11, 400)
        images(run)
        assert time.perf_counter()-start < 5
        start = time.perf_counter()
        last = run.finish(finished(out, cfg), .5)
    assert time.perf_counter()-start < 40
    assert last == f'this run is shown at {run.url}; send what is missing with: wandb sync --include-online {out}/wandb'
    assert capsys.readouterr().err.count('something went wrong') == 1
    got = read_run(out)
    assert losses(got['history']) == {i: 1/i for i in range(1, 401)} and got['history'][-1]['_step'] == 400 and 'a-toy' in got['artifacts']


HANG = '''
import os, signal, sys, time
from lensnb.config import load_config
from lensnb.track import start_run
run = start_run(load_config(None, ['wandb.track=offline']), sys.argv[1], patience_s=2)
from wandb.sdk import wandb_setup
os.kill(wandb_setup._singleton._connection._proc._process.pid, signal.SIGSTOP)
start = time.time()
for run.step in range(1, 20001): run.log(dict(loss=1., text='x'*1000))
print('logged', time.time()-start)
run.close()
print('closed', time.time()-start)
'''


def test_client_hangs(home):
    "W&B's own process stops in the middle: neither the training nor the end of Python waits for it"
    start = time.time()
    r = subprocess.run([sys.executable, '-c', HANG, home/'run'], capture_output=True, text=True, timeout=120, env=dict(os.environ, MPLCONFIGDIR=str(home)))
    assert r.returncode == 0 and 'Traceback' not in r.stderr, r.stderr
    assert r.stderr.count('no answer in time') == 1 and f"wandb sync {home/'run'/'wandb'}" in r.stderr, r.stderr
    assert time.time()-start < 60, r.stdout


@pytest.mark.parametrize('answer', ['nobody', 'silence', 'refusal'])
def test_no_server(home, monkeypatch, capsys, answer):
    "A server that is not there, one that says nothing, and one that does not know the key: the run is offline"
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        if answer == 'silence': s.listen()
        refuses = Server(refuse=True)
        monkeypatch.setenv('WANDB_BASE_URL', refuses.url if answer == 'refusal' else f'http://127.0.0.1:{s.getsockname()[1]}')
        monkeypatch.setenv('WANDB_API_KEY', KEY)
        start = time.time()
        with start_run(config('online'), home/'run') as run:
            assert run.mode == 'offline' and time.time()-start < 20
            steps(run, 1, 3)
        refuses.stop()
    assert capsys.readouterr().err.count('W&B: ') == 1
    assert losses(read_run(home/'run')['history']) == {i: 1/i for i in range(1, 4)}


def test_no_key(home, capsys):
    out, cfg = home/'a run', config('online')
    with start_run(cfg, out) as run:
        assert run.mode == 'offline'
        steps(run, 1, 3)
        last = run.finish(finished(out, cfg), .5)
    assert last == f"send this run with: wandb sync '{out}/wandb'"   # a blank in the name is quoted
    err = capsys.readouterr().err
    assert 'There is no W&B key' in err and last in err


def test_key_of_netrc(home, server, monkeypatch):
    monkeypatch.delenv('WANDB_API_KEY')
    monkeypatch.setenv('NETRC', str(home/'netrc'))
    (home/'netrc').write_text(f'machine 127.0.0.1:{server.server_port}\n  login user\n  password {KEY}\n')
    assert tracking_mode(config('online')) == ('online', '')


@pytest.mark.parametrize('mode, gives', [('offline', 'offline'), ('disabled', 'off')])
def test_mode_of_the_environment(home, server, monkeypatch, mode, gives):
    monkeypatch.setenv('WANDB_MODE', mode)
    assert tracking_mode(config('online'))[0] == gives and not server.asked


def test_off_writes_nothing(home):
    with start_run(config('off'), home/'run') as run:
        steps(run, 1, 3)
        images(run)
        assert run.finish(None, .5) == ''
    assert not run and not (home/'run').exists() and 'WANDB_DATA_DIR' not in os.environ


def test_without_the_package(home, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, 'wandb', None)
    with start_run(config('online'), home/'run') as run: steps(run, 1, 3)
    assert 'cannot be imported' in capsys.readouterr().err and not (home/'run').exists()


def test_a_bad_value_is_said_once(home, capsys):
    "One call that fails does not end the tracking"
    with start_run(config('offline'), home/'run') as run:
        run.step = 1
        for _ in range(3): run.later(lambda: 1/0)
        run.log(dict(loss=1.))
    assert capsys.readouterr().err.count('division by zero') == 1
    assert losses(read_run(home/'run')['history']) == {1: 1.}


def test_a_cut_file_is_read_to_the_cut(home):
    with start_run(config('offline'), home/'run') as run: steps(run, 1, 3000)
    path, = (home/'run').rglob('*.wandb')
    data = path.read_bytes()
    assert len(data) > 3*32768 and len(losses(read_run(home/'run')['history'])) == 3000
    for n in (len(data)//2, 32768+3, 40, 0):
        path.write_bytes(data[:n])
        h = losses(read_run(home/'run')['history'])
        assert list(h) == list(range(1, len(h)+1)) and (len(h) > 50 or n <= 40)
