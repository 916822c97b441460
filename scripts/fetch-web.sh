#!/usr/bin/env bash
# Fetches what the web page takes over where it is at hand (docs/web.md): hls.js from npm, as httpd/web/npm/package-lock.json pins it by its
# digest. Nothing of it is kept in the repository, and the page works without it.
#   scripts/fetch-web.sh [DIR]      (default: httpd/web/npm/dist, from where it is installed and packaged)
set -euo pipefail
target=$(realpath -m "${1:-$(dirname "$0")/../httpd/web/npm/dist}")
cd "$(dirname "$0")/../httpd/web/npm"
command -v npm >/dev/null || { echo "fetch-web.sh: there is no npm here; the web page does without hls.js" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp package.json package-lock.json "$work"
(cd "$work" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error --fetch-retries=1) >&2
mkdir -p "$target"
# Without the last line, which names a map that is not served.
sed '/^\/\/# sourceMappingURL=/d' "$work/node_modules/hls.js/dist/hls.min.mjs" >"$work/hls.mjs"
install -m 644 "$work/hls.mjs" "$target/hls.mjs"
gzip -9nc "$work/hls.mjs" >"$target/hls.mjs.gz"
install -m 644 "$work/node_modules/hls.js/LICENSE" "$target/LICENSE.hls.js"
ls -l "$target"
