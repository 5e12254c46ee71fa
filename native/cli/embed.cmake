# Writes builtin.c: cmake -DMODEL=FILE -DSMALL=FILE -DRECORDING=FILE -DOUT=builtin.c -P embed.cmake
# Only CMake is needed, so a cross build needs nothing more than any other.

function(array name file out_variable)
  file(READ ${file} bytes HEX)
  string(REGEX REPLACE "(................................)" "\\1\n" bytes "${bytes}")
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${bytes}")
  set(${out_variable} "${${out_variable}}
_Alignas(64) const uint8_t ${name}[] = {
${bytes}
};
const size_t ${name}_size = sizeof ${name};
" PARENT_SCOPE)
endfunction()

set(text "#include \"builtin.h\"\n")
array(builtin_model ${MODEL} text)
array(builtin_small_model ${SMALL} text)
array(builtin_recording ${RECORDING} text)
file(WRITE ${OUT} "${text}")
