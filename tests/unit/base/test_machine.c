// SPDX-License-Identifier: Apache-2.0
#include "base/machine.h"

#include <criterion/criterion.h>
#include <sched.h>
#include <stdio.h>
#include <unistd.h>

Test(machine, counts_the_processors_this_process_may_run_on) {
    cr_expect_geq(machine_processors(), 1);
    cr_expect_leq(machine_processors(), sysconf(_SC_NPROCESSORS_CONF));
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(sched_getcpu(), &one);
    cr_assert_eq(sched_setaffinity(0, sizeof one, &one), 0);
    cr_expect_eq(machine_processors(), 1);
}

Test(machine, has_some_of_its_memory_left) {
    uint64_t whole = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    cr_expect_gt(machine_memory_available(), 0);
    cr_expect_leq(machine_memory_available(), whole);
}
