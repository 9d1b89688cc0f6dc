#!/bin/sh
# Build one operations tool from its pin: `deploy/tools/build.sh cosign` makes `.tools/cosign-<version>/cosign`.
#
# The pin is `deploy/tools/<tool>/go.mod` (its `tool` line and versions) and go.sum (the digest of every module); the
# build may change neither. Nothing is done where the binary is there. Go's caches, some gigabytes, are removed.
set -eu

tool=$1
checkout=$(cd "$(dirname "$0")/../.." && pwd)
pin=$checkout/deploy/tools/$tool
package=$(sed -n 's/^tool //p' "$pin/go.mod")
version=$(awk -v package="$package" 'NF > 1 && index(package, $1 "/") == 1 { sub(/^v/, "", $2); print $2; exit }' "$pin/go.mod")
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
cd "$pin"
# The version that the tool shows of itself: -X is passed over where a tool has no such variable.
GOCACHE=$scratch/cache GOMODCACHE=$scratch/modules GOFLAGS=-modcacherw GOTOOLCHAIN=local GOWORK=off CGO_ENABLED=0 \
	nice -n 19 "$go" build -mod=readonly -trimpath -buildvcs=false \
	-ldflags "-s -w -X sigs.k8s.io/release-utils/version.gitVersion=v$version" -o "$scratch/$tool" "$package"
mv "$scratch/$tool" "$home/.$tool.new"
mv "$home/.$tool.new" "$home/$tool"
echo "$home/$tool"
