#!/bin/sh
# Build one operations tool from its pin: `deploy/tools/build.sh cosign` makes `.tools/cosign-<version>/cosign`.
#
# The pin is `deploy/tools/<tool>/go.mod` (its `tool` line and versions) and go.sum (the digest of every module); the
# build may change neither. Where a builder.yaml lies beside them, the `tool` is a builder, and what is built is the
# program that it writes from that list. Nothing is done where the binary is there. Go's caches, some gigabytes, are
# removed.
set -eu

tool=$1
checkout=$(cd "$(dirname "$0")/../.." && pwd)
pin=$checkout/deploy/tools/$tool
package=$(sed -n 's/^tool //p' "$pin/go.mod")
version=$(awk -v package="$package" \
	'NF > 1 && index(package "/", $1 "/") == 1 { sub(/^v/, "", $2); print $2; exit }' "$pin/go.mod")
home=$checkout/.tools/$tool-$version

if [ -x "$home/$tool" ]; then
	echo "$home/$tool"
	exit 0
fi
go=$(PATH=$PATH:/usr/local/go/bin command -v go) || {
	echo "$tool is built with Go, which is not installed: see https://go.dev/doc/install" >&2
	exit 1
}

scratch=$(mktemp -d "${TMPDIR:-/tmp}/maestro-build-$tool.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' HUP INT TERM
mkdir -p "$home"
echo "building $tool $version (several minutes, once)" >&2
export GOCACHE="$scratch/cache" GOMODCACHE="$scratch/modules" GOFLAGS="-modcacherw -mod=readonly -trimpath -buildvcs=false" \
	GOTOOLCHAIN=local GOWORK=off CGO_ENABLED=0
source=$scratch/source
cp -R "$pin" "$source"
cd "$source"
if [ -f builder.yaml ]; then
	# The builder calls `go` itself, and writes a go.mod of its own guess over ours, which is put back.
	PATH=$(dirname "$go"):$PATH nice -n 19 "$go" tool builder --config builder.yaml --skip-compilation --skip-get-modules >&2
	cp "$pin/go.mod" "$pin/go.sum" .
	package=.
fi
# The version that the tool shows of itself: -X is passed over where a tool has no such variable.
nice -n 19 "$go" build -ldflags "-s -w -X sigs.k8s.io/release-utils/version.gitVersion=v$version" -o "$scratch/$tool" "$package"
mv "$scratch/$tool" "$home/.$tool.new"
mv "$home/.$tool.new" "$home/$tool"
echo "$home/$tool"
