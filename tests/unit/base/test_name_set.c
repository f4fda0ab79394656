// SPDX-License-Identifier: Apache-2.0
// The set of names: numbers in the order of coming, also after it has grown, and hashes that meet.
#include "base/name_set.h"

#include <criterion/criterion.h>
#include <stdint.h>

// Names that lie close together in the table, the zero among them.
static Hash128 name_of(uint64_t i) {
    return (Hash128){.high = i + 1, .low = i % 3 * UINT64_C(0x100000000)};
}

Test(name_set, names_are_numbered_in_the_order_in_which_they_come) {
    enum { NAMES = 3000 };
    NameSet set = {0};
    size_t number;
    cr_assert_not(name_set_find(&set, name_of(0), &number), "an empty set");
    for (size_t i = 0; i < NAMES; i++) {
        cr_assert_not(name_set_find(&set, name_of(i), &number));
        cr_assert(name_set_put(&set, name_of(i), &number));
        cr_assert_eq(number, i);
    }
    for (size_t i = 0; i < NAMES; i++) {
        cr_assert(name_set_put(&set, name_of(i), &number));
        cr_assert_eq(number, i);
        cr_assert(name_set_find(&set, name_of(i), &number));
        cr_assert_eq(number, i);
    }
    cr_expect_eq(set.count, NAMES);
    name_set_free(&set);
}
