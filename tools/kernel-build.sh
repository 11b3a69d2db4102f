# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# How a kernel is built in the cache, of the source that tools/kernel-tree has: what tools/uml-kernel, tools/x86-kernel
# and tools/flavour-kernel share. To be sourced by them. They say
#   script name variant        what the kernel is called
#   arch fragments patches     how it is configured; what the fragments do not name is off
#   place                      where it is kept, but for the key of what it is built from
#   kmake patch_source finish  how make is called, what is changed in the source, what is to be done at last
# They may say
#   series kernel takes        whose source, the directory that it is in, how long it takes
#   fetch                      what is downloaded
# and have a `key`, `provide_source`, `configure` and `compile` of their own. Rust with KASAN needs a kernel built by clang.
#
# shellcheck disable=SC2154 # what the scripts say, and lib.sh

series=7.3
takes="ten to twenty minutes, 1 to 2 GB"

in_toolbox() { "$tools/in-toolbox" "$@"; }

manifest_of() {
	local parts=() part
	for part in tree boot programs release source/scripts source/rust source/include "source/arch/$arch" source/Makefile; do
		[ ! -e "$1/$part" ] || parts+=("$part")
	done
	manifest "$1" "${parts[@]}"
}
usable() { [ -f "$1/complete" ] && [ "$(manifest_of "$1")" = "$(cat "$1/complete")" ]; }

# The source by what is in it and the compilers by what they say of themselves, so that a change of
# kernel-tree or a package more in the toolbox does not cost a build.
key() {
	{
		declare -f kmake configure patch_source compile
		cat "${fragments[@]}" "${patches[@]}"
		manifest "$kernel/source" "arch/$arch" drivers/scsi drivers/virtio include kernel lib mm rust scripts Makefile
		# shellcheck disable=SC2016 # expanded inside the toolbox
		in_toolbox sh -c 'for tool in clang ld.lld rustc bindgen; do "$tool" --version; done'
	} | sha256sum | cut -c1-12
}

configure() {
	cat "${fragments[@]}" >"$dir/wanted"
	kmake KCONFIG_ALLCONFIG="$dir/wanted" allnoconfig || return
	grep '^CONFIG_' "$dir/wanted" | LC_ALL=C sort -u | LC_ALL=C comm -23 - <(LC_ALL=C sort "$dir/tree/.config") >"$dir/config.lost"
}

# Links to the files: kernel-tree takes its own away when it makes newer ones.
provide_source() { cp -al "$kernel/source" "$dir/source"; }

compile() { kmake -j"${JOBS:-2}" all; }

build() {
	local began=$SECONDS
	room 4 "$cache" "building $name"
	say "$name: building $dir ($takes)"
	# A build that was interrupted goes on where it was.
	if [ -e "$dir/complete" ] || [ ! -e "$dir/configured" ]; then
		rm -rf --one-file-system "$dir"
		mkdir -p "$dir/tree"
		! declare -F fetch >/dev/null || logged "downloading" "$log-download.log" fetch || exit 1
		logged "linking the source" "$log-source.log" provide_source || exit 1
		logged "patching the source" "$log-patch.log" patch_source || exit 1
		logged "configuring" "$log-config.log" configure || exit 1
		touch "$dir/configured"
	fi
	[ ! -s "$dir/config.lost" ] || say "note: not as asked for: $(paste -sd' ' "$dir/config.lost")"
	logged "building" "$log-build.log" compile || exit 1
	logged "finishing" "$log-finish.log" finish || exit 1
	manifest_of "$dir" >"$dir/complete.new"
	mv "$dir/complete.new" "$dir/complete"
	say "$name: ready after $((SECONDS - began)) s"
}

# What is superseded goes, unless something runs that may use it.
remove_superseded() (
	exec 9>>"$cache/kernels.in-use"
	flock -n 9 || exit 0
	for old in "$place"-*/; do
		[ "$old" = "$dir/" ] || rm -rf --one-file-system "$old"
	done
)

# Builds the kernel, unless it is there, and prints the folder that it is in.
provide() {
	[ -n "${kernel:-}" ] || kernel=$("$tools/kernel-tree" "$series")
	with_lock "$script-$variant"
	mkdir -p "${place%/*}" "$cache/logs"
	log=$cache/logs/$script-$variant
	# Its paths are in the built files, so it is built in place; `complete` comes last.
	dir=$place-$(key)
	if ! usable "$dir"; then
		[ ! -e "$dir/complete" ] || say "$name: files of $dir are missing or damaged, building it again"
		[ -z "${VSRS_NO_BUILD:-}" ] || die "there is no kernel of these sources yet: $name" \
			"Build it first, which takes ten minutes or more: tools/$script $variant"
		build
		usable "$dir" || die "the new kernel changes while nobody uses it: $dir"
	fi
	remove_superseded
	# What runs inside the toolbox reads it there, as the second line of what tools/kernel-tree writes.
	printf '%s\n' "$script" "$dir" >"$place.resolved.new"
	mv "$place.resolved.new" "$place.resolved"
	echo "$dir"
}
