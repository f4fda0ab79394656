// SPDX-License-Identifier: Apache-2.0
// secret.h: names that only the holder of the key can make; prep.h gives them to pictures.
#include "host/request/secret.h"

#include "host/request/prep.h"
#include "tests/unit/host/demo.h"

#include <criterion/criterion.h>
#include <string.h>

static bool same(Hash128 a, Hash128 b) {
    return a.high == b.high && a.low == b.low;
}

Test(secret, a_name_is_blake2b_under_the_key) {
    // Python: hashlib.blake2b(b"abc" + (280).to_bytes(8, "little"), key=bytes(range(32)),
    //                         digest_size=16).hexdigest()
    static const uint8_t expected[16] = {0x9f, 0x83, 0x99, 0xb5, 0x1e, 0xd5, 0xaa, 0xe0,
                                         0x29, 0x25, 0xc0, 0x5a, 0x30, 0x43, 0x1e, 0x83};
    Secret secret;
    for (uint8_t i = 0; i < SECRET_BYTES; i++) {
        secret.key[i] = i;
    }
    Hash128 name = secret_name(&secret, bytes_of_text("abc"), 280);
    cr_expect_arr_eq((const uint8_t *)&name, expected, sizeof expected);
}

Test(secret, every_one_gives_other_names) {
    Secret one, other;
    cr_assert_eq(secret_make(&one, NULL), OK);
    cr_assert_eq(secret_make(&other, NULL), OK);
    Bytes picture = bytes_of_text("picture");
    cr_expect(same(secret_name(&one, picture, 70), secret_name(&one, picture, 70)));
    cr_expect(!same(secret_name(&one, picture, 70), secret_name(&other, picture, 70)));
    cr_expect_neq(secret_seed(&one), secret_seed(&other));
}

// The name that a prep thread gives to the first demo picture.
static Hash128 prepared_name(const PromptMaker *maker, const char *path, uint32_t budget) {
    const PrepRules rules = {.maker = maker, .limits = media_limits_default()};
    Prep prep = {.rules = &rules};
    Question question = demo_question("What?");
    question.budget = budget;
    Request request;
    cr_assert_eq(request_open(&request, 1, NULL), OK);
    request.question = &question;
    request.sources = &(RequestSource){.kind = MEDIA_PICTURE, .path = path};
    request.source_count = 1;
    prep_run(&prep, &request);
    cr_assert_eq(request.status, OK, "%s", request.error.text);
    Hash128 name = request.prompt.media[0].name;
    request_free(&request, 1);
    prep_free(&prep);
    return name;
}

Test(secret, a_picture_is_named_by_its_bytes_its_budget_and_the_secret) {
    Runtime runtime;
    demo_open(&runtime, "auto");
    PromptMaker maker = prompt_maker(runtime.tokenizer, &runtime.weights->config), other = maker;
    cr_assert_eq(secret_make(&other.secret, NULL), OK);
    Hash128 name = prepared_name(&maker, demo_pictures[0], 70);
    cr_expect(same(name, prepared_name(&maker, demo_pictures[0], 70)));
    cr_expect(!same(name, prepared_name(&maker, demo_pictures[1], 70)));
    cr_expect(!same(name, prepared_name(&maker, demo_pictures[0], 140)));
    cr_expect(!same(name, prepared_name(&other, demo_pictures[0], 70)));
    runtime_close(&runtime);
}
