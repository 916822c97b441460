"""Clients of tus that others wrote, from npm, pinned by tests/http/uploaders/package-lock.json (REEL_NPM; scripts/nightly.sh): what the suite of
tus-js-client looks at (tests/http/uploaders/cases.mjs), and Uppy in Chromium on a page of another origin. And rclone, which reads over HTTP."""
import contextlib
import json
import os
import pathlib
import shutil
import subprocess

import pytest

import npm
import wire
from browsers import Chromium, tool
from identity import Keys
from suite import APP, USER, Suite, wait_for

HERE = pathlib.Path(__file__).resolve().parent
PAGE = b"""<!doctype html><meta charset=utf-8><title>Uppy</title><link rel=stylesheet href=/uppy.css><div id=place></div>
<script type=module>import {Uppy, Dashboard, Tus} from '/uppy.mjs';
const uppy = window.uppy = new Uppy({autoProceed: false, debug: false});
uppy.use(Dashboard, {inline: true, target: '#place'});
uppy.use(Tus, {...window.name ? JSON.parse(window.name) : {}, chunkSize: 300000, retryDelays: [0, 500, 1000, 2000]});
window.ready = true;</script>"""


@pytest.fixture(scope="module")
def uploads():
    suite = Suite("sqlite")
    try:
        suite.add_tracker(), suite.add_idserver(), suite.add_storage(upload_rate_min=0), suite.add_storage("storage2")
        suite.keys = Keys(suite.dir / "etc" / "keys").add("app", "issuer").write()
        daemon = suite.add_httpd(write="on", cors_origins="*")
        daemon.configure({**daemon.config, "auth": {"keys": suite.keys.path}})
        suite.launch()
        suite.wait_active(2)
        suite.endpoint = f"http://127.0.0.1:{daemon.port}/tus/{APP}/{USER}"
        yield suite
    finally:
        suite.stop()


@pytest.fixture(scope="module")
def modules(tmp_path_factory):
    return npm.install("uploaders", tmp_path_factory.mktemp("npm"))


@npm.NPM
def test_what_the_suite_of_tus_js_client_looks_at(uploads, modules):
    done = subprocess.run([tool("node"), HERE / "uploaders" / "cases.mjs", modules, uploads.endpoint, wire.token_text(uploads.keys.token())],
                          capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    assert len(results) >= 20 and {name: result for name, result in results.items() if result != "ok"} == {}


def uppy_page(modules):
    files = {"/": ("text/html", PAGE)}
    for name, kind in (("uppy.min.mjs", "text/javascript"), ("uppy.min.css", "text/css")):
        files["/" + name.replace(".min", "")] = (kind, (modules / "uppy" / "dist" / name).read_bytes())
    return files


@npm.NPM
def test_uppy_uploads_pauses_and_goes_on_while_a_storage_server_is_killed(uploads, modules, tmp_path):
    """Chosen in Uppy's own dashboard and started by its button; the page is of another origin."""
    content = os.urandom(5_000_000)
    (tmp_path / "film.bin").write_bytes(content)
    options = {"endpoint": uploads.endpoint, "headers": {"Authorization": "Bearer " + wire.token_text(uploads.keys.token())}}
    with npm.pages(uppy_page(modules)) as page, contextlib.closing(Chromium(tmp_path)) as browser:
        browser.go(page + "none")
        browser.run(f"window.name = {json.dumps(json.dumps(options))}")
        browser.go(page)
        wait_for(lambda: browser.run("return window.ready === true"), 30, "Uppy")
        browser.call("Network.emulateNetworkConditions", offline=False, latency=0, downloadThroughput=-1, uploadThroughput=1_500_000)
        browser.choose("input.uppy-Dashboard-input", tmp_path / "film.bin")
        wait_for(lambda: browser.run("const b = document.querySelector('.uppy-StatusBar-actionBtn--upload'); b?.click(); return b !== null"), 20, "the button")
        sent = "return uppy.getFiles()[0].progress.bytesUploaded || 0"
        wait_for(lambda: browser.run(sent) > 1_000_000, 30, "a part")
        browser.run("uppy.pauseAll()")
        uploads.storage.kill()
        browser.run("uppy.resumeAll()")
        wait_for(lambda: browser.run(sent) > 2_000_000, 60, "going on at the other storage server")
        uploads.storage.start()
        browser.call("Network.emulateNetworkConditions", offline=False, latency=0, downloadThroughput=-1, uploadThroughput=-1)
        wait_for(lambda: browser.run("return uppy.getFiles()[0].progress.uploadComplete === true"), 60, "the end")
        url = browser.run("return uppy.getFiles()[0].uploadURL || uppy.getFiles()[0].response.uploadURL")
        browser.picture()
    name = url.split("/tus/")[1].split("/")[2]
    [[size]] = uploads.sql("storagedb", f"SELECT file_size FROM t_partial WHERE id = '{name}';")
    assert int(size) == len(content)
    got = tmp_path / "got"
    wait_for(lambda: subprocess.run([tool("curl"), "-sSfL", "-o", got, url], timeout=60).returncode == 0, 30, "the file")
    assert got.read_bytes() == content


@pytest.mark.skipif(not shutil.which("rclone"), reason="rclone is not there: scripts/install-packages.sh players")
def test_rclone_reads_by_http(uploads, tmp_path):
    """Files by their addresses, whole, and in pieces at once; there is no directory that it could list."""
    content = os.urandom(3_000_000)
    uploads.put("for-rclone", content, name="film.bin")
    base = f"http://127.0.0.1:{uploads.httpd.port}/files/{APP}/{USER}/"

    def rclone(*arguments):
        return subprocess.run([tool("rclone"), "--config", tmp_path / "none", *arguments], check=True, timeout=60, capture_output=True,
                              env={**os.environ, "HOME": str(tmp_path)}).stdout
    assert rclone("copyurl", "--stdout", base + "for-rclone") == content
    rclone("copyurl", "--auto-filename", base + "for-rclone/film.bin", tmp_path)
    assert (tmp_path / "film.bin").read_bytes() == content
    rclone("copyto", "--http-url", base, "--multi-thread-cutoff", "1M", "--multi-thread-streams", "3", ":http:for-rclone", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == content
