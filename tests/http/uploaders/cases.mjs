// What the suite of tus-js-client looks at with a real or a simulated server, each against ours: cases.mjs MODULES ENDPOINT TOKEN.
// Prints one line of JSON: {case: "ok" or what was wrong}. MODULES: the folder node_modules with tus-js-client.
import assert from "node:assert/strict";
import {randomBytes, createHash} from "node:crypto";
import {createReadStream, mkdtempSync, rmSync, writeFileSync} from "node:fs";
import {createRequire} from "node:module";
import {tmpdir} from "node:os";
import path from "node:path";
import {PassThrough} from "node:stream";

const [modules, endpoint, token] = process.argv.slice(2);
const tus = createRequire(`${modules}/`)("tus-js-client");
const folder = mkdtempSync(path.join(tmpdir(), "tus-cases-"));
const headers = {Authorization: `Bearer ${token}`};
const origin = new URL(endpoint).origin;
const METADATA = {nonlatin: "słońce", number: "100", filename: "hello.txt", filetype: "text/plain"};

/** Runs an upload to its end; resolves with it. TOUCH(upload) may do something to it once it is made. */
function run(content, options = {}, touch = () => {}) {
  return new Promise((resolve, reject) => {
    const upload = new tus.Upload(content, {endpoint, headers, metadata: METADATA, retryDelays: null, ...options,
      onSuccess: (payload) => { options.onSuccess?.(payload); resolve(upload); }, onError: reject});
    touch(upload, resolve);
    if (!options.held) upload.start();
  });
}

async function until(condition, what) {
  for (let turn = 0; turn < 80; turn++) {
    const value = await condition();
    if (value) return value;
    await new Promise((done) => { setTimeout(done, 250); });
  }
  throw new Error(`${what} did not come`);
}

/** An event loop may remember for a moment that the file was not there. */
function stored(upload) {
  return until(async () => {
    const answer = await fetch(upload.url, {headers});
    return answer.status === 404 ? null : {status: answer.status, body: Buffer.from(await answer.arrayBuffer())};
  }, "the file");
}

async function head(upload) {
  return fetch(upload.url, {method: "HEAD", headers: {...headers, "Tus-Resumable": "1.0.0"}});
}

async function expect(upload, content) {
  const {status, body} = await stored(upload);
  assert.equal(status, 200);
  assert.ok(body.equals(Buffer.from(content)), "other bytes");
}

async function expectMetadata(upload) {
  const answer = await head(upload);
  assert.equal(answer.status, 200);
  assert.equal(answer.headers.get("tus-resumable"), "1.0.0");
  assert.deepEqual(answer.headers.get("upload-metadata").split(",").sort(),
    ["filename aGVsbG8udHh0", "filetype dGV4dC9wbGFpbg==", "nonlatin c8WCb8WEY2U=", "number MTAw"]);
}

/** A file of SIZE random bytes and those bytes. */
function file(size) {
  const content = randomBytes(size), name = path.join(folder, createHash("sha1").update(content).digest("hex"));
  writeFileSync(name, content);
  return [name, content];
}

const cases = {
  async "an upload, its metadata and its end by abort(true)"() {
    const upload = await run(Buffer.from("hello world"));
    assert.ok(upload.url.startsWith(`${origin}/tus/`));
    await expect(upload, "hello world");
    await expectMetadata(upload);
    const url = upload.url;
    await upload.abort(true);
    await until(async () => (await fetch(url, {headers})).status === 404, "its end"); // an event loop may remember it for a moment
  },
  async "creation with the content"() {
    const upload = await run(Buffer.from("hello world"), {uploadDataDuringCreation: true});
    await expect(upload, "hello world");
    await expectMetadata(upload);
  },
  async "creation with the first of several pieces"() {
    const content = randomBytes(300_000);
    await expect(await run(content, {uploadDataDuringCreation: true, chunkSize: 100_000}), content);
  },
  async "pieces"() {
    const content = randomBytes(1_000_003), pieces = [];
    const upload = await run(content, {chunkSize: 250_000, onChunkComplete: (size, accepted, total) => pieces.push([size, accepted, total])});
    assert.deepEqual(pieces.map(([size]) => size), [250_000, 250_000, 250_000, 250_000, 3]);
    assert.equal(pieces.at(-1)[1], 1_000_003);
    await expect(upload, content);
  },
  async "an empty upload"() {
    await expect(await run(Buffer.alloc(0)), "");
  },
  async "a length that is said later"() {
    const [name, content] = file(700_000);
    // Of a file's own stream 4.3.1 states the length of a whole piece for the last one, and sends less.
    const upload = await run(createReadStream(name).pipe(new PassThrough()), {uploadLengthDeferred: true, chunkSize: 200_000});
    await expect(upload, content);
  },
  async "a stream of known size"() {
    const [name, content] = file(500_000);
    await expect(await run(createReadStream(name), {uploadSize: 500_000, chunkSize: 150_000}), content);
  },
  async "parallel parts become one"() {
    const content = randomBytes(900_001), sent = [];
    const upload = await run(content, {parallelUploads: 3, onProgress: (bytes) => sent.push(bytes)});
    await expect(upload, content);
    assert.equal(sent.at(-1), content.length);
    await expectMetadata(upload);
  },
  async "parallel parts with boundaries of the caller's"() {
    const content = randomBytes(10_000);
    await expect(await run(content, {parallelUploads: 2, parallelUploadBoundaries: [{start: 0, end: 1}, {start: 1, end: 10_000}]}), content);
  },
  async "a pause and going on"() {
    const content = randomBytes(800_000);
    const first = await new Promise((resolve, reject) => {
      const upload = new tus.Upload(content, {endpoint, headers, metadata: METADATA, chunkSize: 200_000, retryDelays: null, onError: reject,
        onChunkComplete: (_, accepted) => { if (accepted === 400_000) upload.abort().then(() => resolve(upload)); }});
      upload.start();
    });
    assert.equal((await head(first)).headers.get("upload-offset"), "400000");
    await new Promise((resolve, reject) => {
      Object.assign(first.options, {onSuccess: resolve, onError: reject, onChunkComplete: null});
      first.start();
    });
    await expect(first, content);
  },
  async "going on by the address alone"() {
    const content = randomBytes(600_000);
    const url = await new Promise((resolve, reject) => {
      const upload = new tus.Upload(content, {endpoint, headers, chunkSize: 200_000, retryDelays: null, onError: reject,
        onChunkComplete: (_, accepted) => { if (accepted === 200_000) upload.abort().then(() => resolve(upload.url)); }});
      upload.start();
    });
    const sent = [];
    const upload = await run(content, {uploadUrl: url, onProgress: (bytes) => sent.push(bytes)});
    assert.ok(sent[0] >= 200_000);
    await expect(upload, content);
  },
  async "going on by the storage of addresses"() {
    const [name, content] = file(600_000);
    const urlStorage = new tus.FileUrlStorage(path.join(folder, "urls")), fingerprint = async () => "mark";
    const options = {urlStorage, fingerprint, chunkSize: 200_000, removeFingerprintOnSuccess: true};
    await new Promise((resolve, reject) => {
      const upload = new tus.Upload(createReadStream(name), {endpoint, headers, uploadSize: 600_000, retryDelays: null, ...options, onError: reject,
        onChunkComplete: (_, accepted) => { if (accepted === 200_000) upload.abort().then(resolve); }});
      upload.start();
    });
    const upload = new tus.Upload(createReadStream(name), {endpoint, headers, uploadSize: 600_000, retryDelays: null, ...options});
    const found = await upload.findPreviousUploads();
    assert.equal(found.length, 1);
    upload.resumeFromPreviousUpload(found[0]);
    await new Promise((resolve, reject) => {
      Object.assign(upload.options, {onSuccess: resolve, onError: reject});
      upload.start();
    });
    await expect(upload, content);
    await until(async () => (await urlStorage.findUploadsByFingerprint("mark")).length === 0, "the storage being empty");
  },
  async "going on after the upload is gone makes another one"() {
    const gone = await run(Buffer.from("x"), {}, () => {});
    const url = gone.url.replace(/\/u[0-9a-f]{32}/, `/u${"0".repeat(32)}`);
    const upload = await run(Buffer.from("hello world"), {uploadUrl: url});
    assert.notEqual(upload.url, url);
    await expect(upload, "hello world");
  },
  async "going on with what is complete"() {
    const upload = await run(Buffer.from("hello world"));
    const again = await run(Buffer.from("hello world"), {uploadUrl: upload.url});
    assert.equal(again.url, upload.url);
  },
  async "termination of what is begun"() {
    const content = randomBytes(400_000);
    const upload = await new Promise((resolve, reject) => {
      const begun = new tus.Upload(content, {endpoint, headers, chunkSize: 100_000, retryDelays: null, onError: reject,
        onChunkComplete: (_, accepted) => { if (accepted === 100_000) begun.abort(true).then(() => resolve(begun), reject); }});
      begun.start();
    });
    await assert.rejects(tus.Upload.terminate(upload.url, {headers, retryDelays: null}), /status 404|response code: 404/i).catch(async (error) => {
      if (upload.url) throw error; // abort(true) forgets the address
    });
  },
  async "a method in a field"() {
    await expect(await run(Buffer.from("hello world"), {overridePatchMethod: true}), "hello world");
  },
  async "a request ID and fields of the caller's"() {
    const seen = [];
    const upload = await run(Buffer.from("hello world"), {addRequestId: true, headers: {...headers, "X-Custom": "1"},
      onAfterResponse: (request, answer) => seen.push([request.getMethod(), answer.getStatus(), answer.getHeader("Tus-Resumable")])});
    assert.deepEqual(seen, [["POST", 201, "1.0.0"], ["PATCH", 204, "1.0.0"]]);
    await expect(upload, "hello world");
  },
  async "a wrong token is an error that says so"() {
    await assert.rejects(run(Buffer.from("x"), {headers: {Authorization: "Bearer nonsense"}}), /response code: 401/);
  },
  async "an offset that is not the server's is mended by a retry"() {
    const content = randomBytes(300_000), answers = [];
    let first = true;
    const upload = await run(content, {chunkSize: 100_000, retryDelays: [0, 0],
      onBeforeRequest: (request) => {
        if (request.getMethod() === "PATCH" && request.getHeader("Upload-Offset") === "100000" && first) {
          first = false;
          request.setHeader("Upload-Offset", "99999");
        }
      },
      onAfterResponse: (request, answer) => answers.push(answer.getStatus())});
    assert.ok(answers.includes(409));
    await expect(upload, content);
  },
  async "a relative Location"() {
    const answer = await fetch(endpoint, {method: "POST", headers: {...headers, "Tus-Resumable": "1.0.0", "Upload-Length": "3"}});
    assert.ok(answer.headers.get("location").startsWith("/tus/"));
  },
};

const results = {};
for (const [name, work] of Object.entries(cases)) {
  try {
    await Promise.race([work(), new Promise((_, no) => { setTimeout(() => no(new Error("did not end")), 60_000).unref(); })]);
    results[name] = "ok";
  } catch (error) {
    results[name] = String(error.message || error).slice(0, 500);
  }
}
rmSync(folder, {recursive: true});
console.log(JSON.stringify(results));
process.exit(0);
