// SPDX-License-Identifier: Apache-2.0
// Where the kernel choices of a card are kept.
#include "host/runtime/device.h"

#include <criterion/criterion.h>
#include <stdlib.h>

static const char CARD[] = "NVIDIA GeForce RTX 4060 Ti";

Test(device, kernel_choices_are_kept_by_card_and_version_in_the_cache_folder) {
    char path[DEVICE_PATH_MAX];
    setenv("HOME", "/home/ada", 1);
    unsetenv("XDG_CACHE_HOME");
    cr_assert(device_kernels_path(CARD, path));
    cr_assert_str_eq(path,
                     "/home/ada/.cache/tessera/kernels-nvidia-geforce-rtx-4060-ti-" TESSERA_VERSION
                     ".txt");
    setenv("XDG_CACHE_HOME", "/var/cache/ada", 1);
    cr_assert(device_kernels_path(CARD, path));
    cr_assert_str_eq(
        path, "/var/cache/ada/tessera/kernels-nvidia-geforce-rtx-4060-ti-" TESSERA_VERSION ".txt");
    setenv("XDG_CACHE_HOME", "relative", 1); // to be ignored, says the XDG specification
    cr_assert(device_kernels_path("../x/y", path));
    cr_assert_str_eq(path, "/home/ada/.cache/tessera/kernels----x-y-" TESSERA_VERSION ".txt");
}

Test(device, without_a_home_there_is_no_place_for_them) {
    char path[DEVICE_PATH_MAX];
    unsetenv("HOME");
    unsetenv("XDG_CACHE_HOME");
    cr_assert(!device_kernels_path(CARD, path));
}
