# The strict warning set. It is on in every preset; TESSERA_WERROR makes it fatal (dev, asan, tsan).
# Left out on purpose: -Wconversion (index arithmetic would drown in casts; numbers from outside go
# through base/num.h instead) and -Wcast-align (x86 and the sanitizers cover it).
add_compile_options(
  -Wall -Wextra -Wshadow -Wvla
  "$<$<COMPILE_LANGUAGE:C>:-Wstrict-prototypes;-Wmissing-prototypes;-Wold-style-definition>"
  -Wpointer-arith -Wwrite-strings -Wundef -Wdouble-promotion -Wformat=2 -Wimplicit-fallthrough)
if(TESSERA_WERROR)
  add_compile_options(-Werror)
endif()
