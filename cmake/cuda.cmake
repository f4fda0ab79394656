# The CUDA part, for machines with nvcc (TESSERA_CUDA=ON, preset cuda). The rest of the project builds without.
# Warnings are errors in host and device code; ptxas reports registers and spills.
set(CMAKE_CUDA_ARCHITECTURES "80;86;89;90;120" CACHE STRING "GPU architectures")
enable_language(CUDA)
set(CMAKE_CUDA_STANDARD 17)
set(CMAKE_CUDA_RUNTIME_LIBRARY Static)
# -fmad=false: a * b + c rounds twice, as the C++ compiler has it; kernels say fmaf where they mean it. So the
# emulator and the GPU agree to the bit wherever no mma of floats is involved.
set(CUDA_WARNINGS -fmad=false -no-compress -Xptxas=--warn-on-spills -Xcompiler=-Wall,-Wextra)
if(TESSERA_WERROR) # not in preset gpu: another nvcc than ours may spill a register
  list(APPEND CUDA_WARNINGS --Werror=all-warnings)
endif()

file(GLOB cuda_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/cuda/*.cu
     ${PROJECT_SOURCE_DIR}/cuda/kernels/*.cu)
add_library(tessera_cuda STATIC ${cuda_sources})
target_include_directories(tessera_cuda PUBLIC ${PROJECT_SOURCE_DIR})
target_link_libraries(tessera_cuda PUBLIC tessera_model tessera_base ${CMAKE_DL_LIBS})
target_compile_definitions(tessera_cuda PUBLIC TESSERA_CUDA)

add_library(tessera_prim_compile OBJECT ${PROJECT_SOURCE_DIR}/tests/cuda/prim_compile.cu
            ${PROJECT_SOURCE_DIR}/tests/cuda/cublaslt_compile.cu)
target_include_directories(tessera_prim_compile PRIVATE ${PROJECT_SOURCE_DIR})

# `tessera bench gpu`; the rest of bench/ is a room of its own.
file(GLOB bench_gpu_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/bench/gpu/*.cu ${PROJECT_SOURCE_DIR}/bench/gpu/*.c)
add_library(tessera_bench_gpu STATIC ${bench_gpu_sources})
target_link_libraries(tessera_bench_gpu PUBLIC tessera_bench tessera_cuda ${CMAKE_DL_LIBS})

foreach(target tessera_cuda tessera_bench_gpu tessera_prim_compile)
  # The C warning set of cmake/warnings.cmake is gcc's; nvcc gets its own. C files are held against
  # that set where the emulator builds them.
  set_target_properties(${target} PROPERTIES COMPILE_OPTIONS "")
  target_compile_options(${target} PRIVATE "$<$<COMPILE_LANGUAGE:CUDA>:${CUDA_WARNINGS}>")
endforeach()
