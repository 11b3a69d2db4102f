# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Functions that the scripts of tools/ share: messages, the cache's place, locks, steps whose output goes to a
# log while their progress stays visible, and the check that finds a damaged cache. To be sourced.

set -euo pipefail

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
# shellcheck disable=SC2034 # for the scripts that source this
tools=$repo/tools
# Inside the toolbox $HOME is another one.
cache=${VSRS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/virtio-scsi-rs}

say() { printf '%s\n' "$*" >&2; }

# die MESSAGE [WHAT TO DO]...
die() {
	printf 'error: %s\n' "$1" >&2
	shift
	for line in "$@"; do printf '       %s\n' "$line" >&2; done
	exit 1
}

# Spaces would have to be quoted through make and Kbuild, which cannot do it.
check_paths() {
	case $repo$cache in
	*[[:space:]]*) die "the path of the clone ($repo) or of the cache ($cache) has a space in it" \
		"Kbuild cannot work with that: move the clone, or set XDG_CACHE_HOME." ;;
	esac
}

# room NEEDED_GB DIRECTORY WHAT_FOR: refuses to start what would fill the disk.
room() {
	local free
	free=$(df --output=avail -BG "$2" | tr -dc '0-9')
	[ "$free" -ge "$1" ] || die "$3 needs $1 GB in $2, and $free GB are free there" \
		"Free some space, or set XDG_CACHE_HOME to a larger disk."
}

# with_lock NAME: holds the lock until the script ends.
with_lock() {
	mkdir -p "$cache"
	exec {lock_fd}>"$cache/$1.lock"
	if ! flock -n "$lock_fd"; then
		say "waiting for another run that is preparing the $1 ..."
		flock "$lock_fd"
	fi
}

# logged TITLE LOG COMMAND...: the command's output goes to LOG; every ten seconds a line says how it
# goes; a failure shows the log's end and where it is. A shell function as the command has to check its
# own steps, as the shell does not stop at a failure there.
logged() {
	local title=$1 log=$2 began=$SECONDS ticker rc=0
	shift 2
	mkdir -p "$(dirname "$log")"
	: >"$log"
	say "  $title ..."
	(
		trap 'kill "$sleeper" 2>/dev/null; exit 0' TERM
		while kill -0 $$ 2>/dev/null; do
			sleep 10 &
			sleeper=$!
			wait "$sleeper" || :
			last=$(tail -c 2000 "$log" | tr '\r' '\n' | grep -v '^ *$' | tail -n 1) || :
			printf '    %4d s  %.90s\n' "$((SECONDS - began))" "$last" >&2
		done
	) &
	ticker=$!
	"$@" >>"$log" 2>&1 </dev/null || rc=$?
	kill "$ticker" 2>/dev/null || :
	wait "$ticker" 2>/dev/null || :
	if [ "$rc" -ne 0 ]; then
		tail -n 30 "$log" | sed 's/^/    | /' >&2
		say "error: $title: failed with code $rc; its log is $log"
		return "$rc"
	fi
	say "  $title: $((SECONDS - began)) s"
}

# manifest DIRECTORY [SUBDIRECTORY]...: one hash over the names and sizes of all files, quick enough to
# be taken at every use. What Python and Kbuild leave behind in passing does not count.
manifest() {
	local top=$1
	shift
	(cd "$top" && find "${@:-.}" \( -name __pycache__ -o -name '.tmp*' \) -prune -o \
		-type f -printf '%s %p\n') | LC_ALL=C sort | sha256sum | cut -c1-64
}

# module_sources: prints the names of the module's sources in the clone, each ended by a NUL.
module_sources() {
	(cd "$repo" && find . \( -path './.?*' -o -path ./build -o -path ./docs -o -path ./tools -o -path ./examples \) -prune -o \
		-type f \( -name Kbuild -o -name '*.kbuild' -o -name '*.rs' -o -name '*.c' -o -name '*.h' \) \
		! -name 'bindings_generated.rs' ! -name '*.mod.c' -printf '%P\0')
}

# choose_kernel SERIES: a kernel that modules are built for, as tools/build-module names them. Sets `kernel`, its
# folder; `release`; `rust_flags`; `compilers`, words for make; and `kernel_toolbox`, the tree that these are in if it
# is not the toolbox.
# shellcheck disable=SC2034 # for the scripts that source this
choose_kernel() {
	kernel_toolbox=
	case $1 in
	uml-*)
		kernel=$("$tools/uml-kernel" "${1#uml-}")
		release="User-Mode Linux, ${1#uml-}"
		# The kernel builds Rust position-independent, with relocations its module loader does not know.
		rust_flags="-Crelocation-model=static -Ccode-model=large"
		# Its headers add to a null pointer, which clang says of every file.
		compilers=(ARCH=um LLVM=1 KCFLAGS=-Wno-null-pointer-arithmetic)
		;;
	x86-sanitized)
		kernel=$("$tools/x86-kernel")
		release=$(cat "$kernel/release")
		rust_flags=
		compilers=(LLVM=1)
		;;
	*64-*)
		kernel=$("$tools/flavour-kernel" "$1")
		release=$(cat "$kernel/release")
		rust_flags=
		mapfile -t compilers <"$kernel/compilers"
		[ ! -f "$kernel/toolbox" ] || kernel_toolbox=$(cat "$kernel/toolbox")
		;;
	*)
		kernel=$("$tools/kernel-tree" "$1")
		release=$(cat "$kernel/release")
		rust_flags=
		compilers=(CC="$(cat "$kernel/cc")" HOSTCC="$(cat "$kernel/hostcc")")
		;;
	esac
}
