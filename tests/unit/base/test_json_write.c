// SPDX-License-Identifier: Apache-2.0
// JSON writing: what the writer makes, the JSON library reads back as the same values.
#include "base/json_write.h"

#include "base/json.h"

#include <criterion/criterion.h>
#include <math.h>

Test(json_write, members_come_in_order_with_commas_where_they_belong) {
    Buffer out = {0};
    JsonWriter json = {.out = &out};
    json_write_open(&json, NULL, '{');
    json_write_open(&json, "empty", '[');
    json_write_close(&json, ']');
    json_write_open(&json, "list", '[');
    json_write_integer(&json, NULL, -1);
    json_write_open(&json, NULL, '{');
    json_write_close(&json, '}');
    json_write_null(&json, NULL);
    json_write_close(&json, ']');
    json_write_bool(&json, "b", false);
    json_write_close(&json, '}');
    cr_expect_str_eq((char *)out.data, "{\"empty\":[],\"list\":[-1,{},null],\"b\":false}");
    buffer_free(&out);
}

Test(json_write, values_come_back_through_the_library) {
    Buffer out = {0};
    JsonWriter json = {.out = &out};
    json_write_open(&json, NULL, '{');
    json_write_text(&json, "te\"xt", bytes_of_text("a\n\"b\"\\ \x01 \xc3\xa9 \xff"));
    json_write_unsigned(&json, "large", INT64_MAX);
    json_write_real(&json, "float", (double)0.1f, 9);
    json_write_real(&json, "double", 1.0 / 3.0, 17);
    json_write_real(&json, "nan", NAN, 9);
    json_write_close(&json, '}');
    json_t *root;
    cr_assert_eq(json_parse((Bytes){out.data, out.length}, "it", &root, NULL), OK);
    cr_expect_str_eq(json_string_value(json_object_get(root, "te\"xt")),
                     "a\n\"b\"\\ \x01 \xc3\xa9 \xef\xbf\xbd");
    cr_expect_eq(json_integer_value(json_object_get(root, "large")), INT64_MAX);
    cr_expect_eq((float)json_real_value(json_object_get(root, "float")), 0.1f);
    cr_expect_eq(json_real_value(json_object_get(root, "double")), 1.0 / 3.0);
    cr_expect(json_is_null(json_object_get(root, "nan")));
    json_decref(root);
    buffer_free(&out);
}
