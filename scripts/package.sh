#!/usr/bin/env bash
# Builds packages into dist/: a source tarball, Debian packages (with their source package), RPM packages where rpmbuild is
# to be had, debug symbols in dist/debug, and SHA256SUMS of all. The same sources give the same bytes.
#   scripts/package.sh [--work DIR] [--dist DIR] [--tests] [source|deb|rpm]...      (default: all)
#   --work DIR   where they are built (default build/package)
#   --dist DIR   where they are put (default dist); what a former run put there is removed
#   --tests      unit tests run while the Debian packages are built
set -euo pipefail
cd "$(dirname "$0")/.."
fail() { echo "package.sh: $*" >&2; exit 1; }
work=build/package dist=dist check=nocheck
while [[ ${1:-} = --* ]]; do
    case $1 in
        --work) work=${2:?} && shift 2 ;;
        --dist) dist=${2:?} && shift 2 ;;
        --tests) check= && shift ;;
        *) sed -n '2,/^set /s/^# \{0,1\}//p' "$0" | sed '$d'; exit 2 ;;
    esac
done
what=("$@")
[ ${#what[@]} -gt 0 ] || { what=(source deb) && command -v rpmbuild >/dev/null && what+=(rpm); }
version=$(sed -n 's/^project(reelstore VERSION \([0-9.]*\).*/\1/p' CMakeLists.txt)
name=reelstore-$version
grep -q "^reelstore ($version-" debian/changelog || fail "debian/changelog does not begin with $version, as CMakeLists.txt does"
grep -q "^Version: *$version\$" packaging/reelstore.spec || fail "packaging/reelstore.spec does not say version $version, as CMakeLists.txt does"
SOURCE_DATE_EPOCH=$(date -d "$(sed -n 's/^ -- .*>  //p' debian/changelog | head -n 1)" +%s)
export SOURCE_DATE_EPOCH

rm -rf "$work" && mkdir -p "$work" "$dist"
work=$(realpath "$work") dist=$(realpath "$dist")
find "$dist" -maxdepth 2 -type f \( -name '*.deb' -o -name '*.rpm' -o -name 'reelstore[_-]*' -o -name SHA256SUMS \) -delete

# What git knows, as it lies here; in an unpacked tarball all that is there.
files() {
    if git rev-parse --git-dir >/dev/null 2>&1; then
        git ls-files -z -co --exclude-standard | while IFS= read -r -d '' file; do [ ! -e "$file" ] || printf '%s\0' "$file"; done
        [ ! -d httpd/web/npm/dist ] || find httpd/web/npm/dist -type f -print0
    else
        find . -type f -not -path './build/*' -not -path './dist/*' -printf '%P\0'
    fi
}
tarball() { # names from standard input, each ending in NUL
    sort -z | tar --no-recursion --transform "s#^#$name/#" --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner \
        --mode=u+rw,go+r,go-w --format=gnu --null -T - -cf - | gzip -9n
}
# hls.js, which the web page takes over where it is at hand: the tarball carries it, and with it every package.
if git rev-parse --git-dir >/dev/null 2>&1; then
    if command -v npm >/dev/null; then
        scripts/fetch-web.sh >/dev/null || fail "npm does not give what httpd/web/npm/package-lock.json names"
    else
        rm -rf httpd/web/npm/dist
        echo "package.sh: there is no npm here; the packages will not have hls.js, and the web page will do without it" >&2
    fi
fi
files | tarball >"$work/$name.tar.gz"

for kind in "${what[@]}"; do
    case $kind in
        source) cp "$work/$name.tar.gz" "$dist/" ;;
        deb)
            scripts/install-packages.sh build package
            # The directory's name is the same each time, so that nothing of it can differ in what is built.
            mkdir "$work/deb"
            tar -xf "$work/$name.tar.gz" -C "$work/deb"
            (cd "$work/deb/$name" && find . \( -type f -o -type l \) -not -path './debian/*' -printf '%P\0' | tarball) \
                >"$work/deb/reelstore_$version.orig.tar.gz"
            (cd "$work/deb/$name" && DEB_BUILD_OPTIONS="$check parallel=$(nproc) ${DEB_BUILD_OPTIONS:-}" \
                dpkg-buildpackage -us -uc -F >"$work/deb.log" 2>&1) || { tail -n 60 "$work/deb.log" >&2; fail "dpkg-buildpackage failed; its whole output is in $work/deb.log"; }
            mkdir -p "$dist/debug" && mv "$work"/deb/*-dbgsym_*.deb "$dist/debug/"
            mv "$work"/deb/*.deb "$work"/deb/*.dsc "$work"/deb/*.tar.* "$work"/deb/*.changes "$work"/deb/*.buildinfo "$dist/"
            # For lintian, dput and reprepro it names what lies beside it, without the debug symbols.
            sed -i '/ [^ ]*-dbgsym_[^ ]*\.deb$/d' "$dist"/*.changes ;;
        rpm)
            command -v rpmbuild >/dev/null || fail "there is no rpmbuild here (package rpm)"
            # Without --nodeps it would look for RPM packages, which a Debian machine does not have.
            nodeps=()
            [ -e /etc/redhat-release ] || nodeps=(--nodeps)
            mkdir -p "$work/rpm/SOURCES"
            cp "$work/$name.tar.gz" "$work/rpm/SOURCES/"
            rpmbuild -ba "${nodeps[@]}" --define "_topdir $work/rpm" --define "use_source_date_epoch_as_buildtime 1" \
                --define "clamp_mtime_to_source_date_epoch 1" --define "_buildhost reelstore" packaging/reelstore.spec >"$work/rpm.log" 2>&1 ||
                { tail -n 60 "$work/rpm.log" >&2; fail "rpmbuild failed; its whole output is in $work/rpm.log"; }
            find "$work/rpm/RPMS" "$work/rpm/SRPMS" -name '*.rpm' -exec mv {} "$dist/" \; ;;
        *) fail "unknown kind '$kind'; known: source deb rpm" ;;
    esac
done
(cd "$dist" && find . -maxdepth 2 -type f ! -name SHA256SUMS -printf '%P\n' | sort | xargs sha256sum >SHA256SUMS)
ls -l "$dist"
