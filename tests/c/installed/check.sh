#!/bin/bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# check.sh BUILD SCRATCH PREFIX LIBDIR VERSION CC CXX: installs the library below SCRATCH, as a packager does, compares the
# list of files, and builds and runs programs with find_package and with pkg-config.
set -eu
export LC_ALL=C
build=$1 scratch=$2 prefix=$3 libdir=$4 version=$5 cc=$6 cxx=$7
here=$(dirname "$(readlink -f "$0")")
case $libdir in /*) libdir=${libdir#"$prefix"/} ;; esac

rm -rf "$scratch"
mkdir -p "$scratch"
DESTDIR=$scratch/root cmake --install "$build" >"$scratch/install.log"
cd "$scratch/root$prefix"

installed() { find bin include "$libdir" -type f -o -type l | sed -E 's/(Targets-)[a-z]+\.cmake/\1CONFIG.cmake/' | sort; }
diff -u --label expected --label installed - <(installed) <<L
bin/agentcg-doctor
bin/agentcg-reap
bin/agentcg-run
bin/agentcg-top
include/agentcg.h
include/agentcg.hpp
include/agentcg/cffi.h
include/agentcg/values.hpp
$libdir/agentcg/agentcg-guard
$libdir/cmake/agentcg/agentcgConfig.cmake
$libdir/cmake/agentcg/agentcgConfigVersion.cmake
$libdir/cmake/agentcg/agentcgTargets-CONFIG.cmake
$libdir/cmake/agentcg/agentcgTargets.cmake
$libdir/libagentcg.a
$libdir/libagentcg.so
$libdir/libagentcg.so.0
$libdir/libagentcg.so.$version
$libdir/pkgconfig/agentcg.pc
L
links=$(readlink "$libdir/libagentcg.so" "$libdir/libagentcg.so.0" | tr '\n' ' ')
[ "$links" = "libagentcg.so.0 libagentcg.so.$version " ] || { echo "the links point to $links" >&2; exit 1; }
for header in agentcg.h agentcg.hpp agentcg/values.hpp; do
  cmp "include/$header" "$here/../../../include/$header"
done

for section in 1 3 7; do
  diff -r "$here/../../../man/man$section" "share/man/man$section" >&2
done
for directory in bash-completion/completions=bash zsh/site-functions=zsh fish/vendor_completions.d=fish; do
  diff -r "$here/../../../completions/${directory#*=}" "share/${directory%=*}" >&2
done

# prints HOW PROGRAM: the program prints the version of the library
prints() {
  local printed
  printed=$("$2") || { echo "$1: the program failed" >&2; exit 1; }
  [ "$printed" = "$version" ] || { echo "$1: the program printed \"$printed\", not \"$version\"" >&2; exit 1; }
  echo "$1: $printed"
}
# runs HOW PROGRAM: the program loads the library of $LD_LIBRARY_PATH, too
runs() {
  ldd "$2" | grep -qF "$LD_LIBRARY_PATH/libagentcg.so.0" || { echo "$1: another library was loaded" >&2; exit 1; }
  prints "$@"
}
# runs_alone HOW PROGRAM: the program needs no libagentcg.so
runs_alone() {
  ! readelf -dW "$2" | grep -F libagentcg || { echo "$1: the program needs the shared library" >&2; exit 1; }
  LD_LIBRARY_PATH='' prints "$@"
}
export LD_LIBRARY_PATH=$PWD/$libdir

for tool in bin/*; do
  [ -z "$(readelf -d "$tool" | grep -E 'R(UN)?PATH')" ] || { echo "$tool has a RUNPATH" >&2; exit 1; }
  printed=$("$tool" --version) || { echo "$tool --version failed" >&2; exit 1; }
  [[ " $printed " == *" $version "* ]] || { echo "$tool --version printed \"$printed\"" >&2; exit 1; }
done

cmake -S "$here" -B "$scratch/cmake" -DCMAKE_PREFIX_PATH="$PWD" -DCMAKE_C_COMPILER="$cc" \
  -DCMAKE_CXX_COMPILER="$cxx" >"$scratch/cmake.log"
cmake --build "$scratch/cmake" >>"$scratch/cmake.log"
runs "C by find_package" "$scratch/cmake/in_c"
runs "C++ by find_package" "$scratch/cmake/in_cxx"
runs_alone "C, linked with the archive, by find_package" "$scratch/cmake/in_c_static"
runs_alone "C++, without any shared library, by find_package" "$scratch/cmake/in_cxx_static"

# As when cross compiling: the sysroot is DESTDIR.
export PKG_CONFIG_LIBDIR=$PWD/$libdir/pkgconfig PKG_CONFIG_SYSROOT_DIR=$scratch/root
export PKG_CONFIG_ALLOW_SYSTEM_CFLAGS=1 PKG_CONFIG_ALLOW_SYSTEM_LIBS=1
[ "$(pkg-config --modversion agentcg)" = "$version" ] || { echo "agentcg.pc has another version" >&2; exit 1; }
read -ra flags <<<"$(pkg-config --cflags --libs agentcg)"
"$cc" "$here/version.c" -o "$scratch/pc_c" "${flags[@]}"
"$cxx" "$here/version.cc" -o "$scratch/pc_cxx" "${flags[@]}"
runs "C by pkg-config" "$scratch/pc_c"
runs "C++ by pkg-config" "$scratch/pc_cxx"

# Programs without shared libraries. glibc warns that dlopen(3), which the library uses for libsystemd, needs shared libraries.
read -ra flags <<<"$(pkg-config --static --cflags --libs agentcg)"
# The command of docs/packaging.md.
cp "$here/version.c" "$scratch/program.c"
command=$(sed -n 's/^    gcc -static/"$cc" -o static_c -static/p' "$here/../../../docs/packaging.md")
(cd "$scratch" && eval "$command") 2>"$scratch/static.log" || { cat "$scratch/static.log" >&2; exit 1; }
"$cxx" -static "$here/version.cc" -o "$scratch/static_cxx" "${flags[@]}" 2>>"$scratch/static.log"
runs_alone "C without shared libraries" "$scratch/static_c"
runs_alone "C++ without shared libraries" "$scratch/static_cxx"
[ "$(readelf -dW "$scratch/static_c" | grep -c NEEDED)" = 0 ] || { echo "the static program needs shared libraries" >&2; exit 1; }

# agentcg.pc is correct wherever it is.
mv "$PWD" "$scratch/moved"
cd "$scratch/moved"
export LD_LIBRARY_PATH=$PWD/$libdir PKG_CONFIG_LIBDIR=$PWD/$libdir/pkgconfig
unset PKG_CONFIG_SYSROOT_DIR
read -ra flags <<<"$(pkg-config --cflags --libs agentcg)"
"$cc" "$here/version.c" -o "$scratch/moved_c" "${flags[@]}"
runs "C by pkg-config, from another directory" "$scratch/moved_c"
