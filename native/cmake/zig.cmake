# Toolchain file: cross compiles with zig (https://ziglang.org; pip install ziglang), which brings clang, the linker and
# the C library of every target. `make zig` installs the version that the wheels are made with.
#
#   cmake -S native -B build/armv6l -DCMAKE_TOOLCHAIN_FILE=$PWD/native/cmake/zig.cmake \
#     -DER_ZIG_TARGET=arm-linux-gnueabihf.2.17 -DER_ZIG_CPU=arm1176jzf_s
#
# ER_ZIG_TARGET   zig's name of the target; "gnu.2.17" asks for no symbol of a later glibc, "musl" is for static programs
# ER_ZIG_CPU      the least processor, by zig's name; default: the architecture's baseline
# ER_ZIG          the program zig; default: that of the checkout's .venv, else the first zig or python-zig on the PATH
#
# Each may also be an environment variable. CMakePresets.json has the targets that are shipped.

foreach(name IN ITEMS ER_ZIG ER_ZIG_TARGET ER_ZIG_CPU)
  if(NOT DEFINED ${name} AND DEFINED ENV{${name}})
    set(${name} "$ENV{${name}}")
  endif()
endforeach()
# CMake reads this file again for every check of the compiler, and knows there what is named here.
list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES ER_ZIG ER_ZIG_TARGET ER_ZIG_CPU)

get_filename_component(er_checkout "${CMAKE_CURRENT_LIST_DIR}/../.." ABSOLUTE)
if(NOT ER_ZIG)
  file(GLOB er_zig_in_venv "${er_checkout}/.venv/lib/python3*/site-packages/ziglang/zig")
  find_program(ER_ZIG NAMES ${er_zig_in_venv} zig python-zig)
  if(NOT ER_ZIG)
    message(FATAL_ERROR "zig.cmake: zig is not installed; run `make zig` or `pip install ziglang`, or name it by ER_ZIG")
  endif()
endif()
if(NOT ER_ZIG_TARGET MATCHES "^[a-z0-9_]+-linux-(gnu|musl)")
  message(FATAL_ERROR "zig.cmake: ER_ZIG_TARGET must name a Linux target such as aarch64-linux-gnu.2.17 or "
    "arm-linux-musleabihf; found \"${ER_ZIG_TARGET}\"")
endif()

set(CMAKE_SYSTEM_NAME Linux)
string(REGEX REPLACE "-.*" "" CMAKE_SYSTEM_PROCESSOR "${ER_ZIG_TARGET}")
if(CMAKE_SYSTEM_PROCESSOR STREQUAL "arm")
  set(CMAKE_SYSTEM_PROCESSOR armv7l)
  if(ER_ZIG_CPU MATCHES "^arm11|v6")
    set(CMAKE_SYSTEM_PROCESSOR armv6l)
  endif()
endif()

set(CMAKE_C_COMPILER ${ER_ZIG})
set(CMAKE_C_COMPILER_ARG1 "cc -target ${ER_ZIG_TARGET}")   # a list in CMAKE_C_COMPILER needs CMake 3.19
if(ER_ZIG_CPU)
  string(APPEND CMAKE_C_COMPILER_ARG1 " -mcpu=${ER_ZIG_CPU}")
endif()
set(CMAKE_C_COMPILER_TARGET ${ER_ZIG_TARGET})               # for CMake to ask it to compile, not to link, at first

# Checks of the compiler compile and do not link: zig would first build a C library, and for programs without -O the
# run time of its sanitizer.
set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)

# The archiver is zig too: the host's may know no foreign objects, and then makes no index.
set(CMAKE_AR ${ER_ZIG})
set(CMAKE_RANLIB ${ER_ZIG})
set(CMAKE_C_ARCHIVE_CREATE "<CMAKE_AR> ar qcD <TARGET> <LINK_FLAGS> <OBJECTS>")
set(CMAKE_C_ARCHIVE_APPEND "<CMAKE_AR> ar qD <TARGET> <LINK_FLAGS> <OBJECTS>")
set(CMAKE_C_ARCHIVE_FINISH "<CMAKE_RANLIB> ranlib -D <TARGET>")

# The same bytes wherever the checkout lies. zig's own parts come with debug data, up to 800 KB: not in what is shipped,
# where names of functions stay (zig's --strip-debug would drop them too).
set(CMAKE_C_FLAGS_INIT "\"-ffile-prefix-map=${er_checkout}=.\"")
foreach(kind IN ITEMS SHARED EXE)
  set(CMAKE_${kind}_LINKER_FLAGS_RELEASE_INIT "\"-Wl,-T,${CMAKE_CURRENT_LIST_DIR}/no_debug.ld\"")
endforeach()

set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
