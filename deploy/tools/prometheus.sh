#!/bin/sh
# Fetch Prometheus and promtool into `.tools/prometheus`: the packages of a Debian archive, unpacked and not installed.
#
# Needs no root: lists and packages lie in a scratch folder. apt checks the archive's signature and the packages' digests.
# Nothing is done where the two are there. Ones that the machine has on its PATH are linked.
set -eu

checkout=$(cd "$(dirname "$0")/../.." && pwd)
home=$checkout/.tools/prometheus

if [ -x "$home/prometheus" ] && [ -x "$home/promtool" ]; then
	echo "$home"
	exit 0
fi
mkdir -p "$home"
if command -v prometheus >/dev/null && command -v promtool >/dev/null; then
	ln -sf "$(command -v prometheus)" "$(command -v promtool)" "$home/"
	echo "$home"
	exit 0
fi
command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || {
	echo "Prometheus is fetched by apt-get, which is not here: put prometheus and promtool on the PATH" >&2
	exit 1
}

scratch=$(mktemp -d "${TMPDIR:-/tmp}/maestro-prometheus.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' HUP INT TERM
mkdir -p "$scratch/lists/partial" "$scratch/cache/archives/partial"
echo "fetching Prometheus (30 MB, once)" >&2
cd "$scratch"
own="-q -q -o Dir::State::lists=$scratch/lists -o Dir::Cache=$scratch/cache -o APT::Sandbox::User="
# shellcheck disable=SC2086 # the options are words
apt-get $own update
# shellcheck disable=SC2086
apt-get $own download prometheus
dpkg-deb -x prometheus_*.deb unpacked
for tool in prometheus promtool; do
	mv "unpacked/usr/bin/$tool" "$home/.$tool.new"
	mv "$home/.$tool.new" "$home/$tool"
done
echo "$home"
