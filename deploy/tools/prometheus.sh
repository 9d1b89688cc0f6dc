#!/bin/sh
# Fetch Prometheus and promtool into `.tools/prometheus`: the packages of a Debian archive, unpacked and not installed.
#
# Needs no root: lists and packages lie in a scratch folder. apt checks the archive's signature and the packages' digests.
# The version is the archive's, so it is not pinned but checked: both of one version, from 2.42 to below 4, which is what
# the rules in deploy/prometheus are written for. Where two that fit lie there already nothing is done; two that fit on the
# PATH are linked, others are left alone. Says the folder, and on stderr the version.
set -eu

checkout=$(cd "$(dirname "$0")/../.." && pwd)
home=$checkout/.tools/prometheus

# The version of a tool: `2.42.0+ds` of `prometheus, version 2.42.0+ds (branch: ...`.
version_of() { "$1" --version 2>&1 | sed -n 's/^[a-z]*, version \([^ ]*\).*/\1/p'; }

# Whether these two may be used; says why not.
fit() {
	[ -x "$1" ] && [ -x "$2" ] || return 1
	version=$(version_of "$1")
	[ "$version" = "$(version_of "$2")" ] || {
		echo "$1 and $2 are of different versions" >&2
		return 1
	}
	case $version in
	2.4[2-9].* | 2.[5-9][0-9].* | 3.*) echo "Prometheus $version, $(readlink -f "$1")" >&2 ;;
	*)
		echo "$1 is Prometheus ${version:-of no known version}: 2.42 or newer, below 4, is needed" >&2
		return 1
		;;
	esac
}

if fit "$home/prometheus" "$home/promtool"; then
	echo "$home"
	exit 0
fi
mkdir -p "$home"
if fit "$(command -v prometheus)" "$(command -v promtool)"; then
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
fit unpacked/usr/bin/prometheus unpacked/usr/bin/promtool
for tool in prometheus promtool; do
	mv "unpacked/usr/bin/$tool" "$home/.$tool.new"
	mv "$home/.$tool.new" "$home/$tool"
done
echo "$home"
